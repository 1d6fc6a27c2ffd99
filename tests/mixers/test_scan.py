import pytest
import torch
from torch import Tensor

from seefar.mixers import Attention, Block, GatedRecurrence, Mamba, Scan, Stack
from seefar.mixers.base import Mixer
from seefar.positions import Path, cross, raster, reverse, spatiotemporal
from seefar.testing import check_streaming


class _Sum(Mixer):
    """Every token becomes the sum of all tokens up to it, times a gain."""

    causal, bounded = True, True

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.cumsum(1) if state is None else state[:, None] + x.cumsum(1)
        return self.gain * total, total[:, -1]


def test_along_raster_it_is_the_mixer_itself_and_streams():
    mixer = Mamba(6, d_state=3).double()
    scan, x = Scan(mixer, raster, (2, 3, 4)), torch.randn(2, 24, 6, dtype=torch.float64)
    assert scan.causal and scan.bounded
    torch.testing.assert_close(scan(x), mixer(x))
    check_streaming(scan, x)
    check_streaming(Scan([GatedRecurrence(6)], [raster], (1, 1, 5)), torch.randn(1, 17, 6))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(Scan(broken(Mamba(6, d_state=3)), raster, (2, 3, 4)), torch.randn(2, 24, 6))


def test_one_that_claims_to_stream_along_another_path_is_caught():
    scan = Scan(GatedRecurrence(6), reverse, (1, 4, 6))
    with pytest.raises((AssertionError, ValueError)):
        check_streaming(scan, torch.randn(2, 24, 6))


@pytest.mark.parametrize("grid", [(1, 4, 6), (2, 3, 4)])
def test_along_reverse_it_is_the_mixer_between_two_flips(grid):
    mixer = Mamba(6, d_state=3).double()
    x = torch.randn(2, 24, 6, dtype=torch.float64)
    y, state = Scan(mixer, reverse, grid)(x)
    assert state is None
    torch.testing.assert_close(y, mixer(x.flip(1))[0].flip(1), rtol=1e-12, atol=1e-12)


def test_the_cross_of_a_two_by_three_picture_by_hand():
    #   1  10  100       along rows: 1 11 111 | 1111 11111 111111      along columns: 1 1011 11111 | 1001 11011 111111
    # 1000 1e4 1e5       and both backwards, where a token ends up with itself and all that follow it
    x = torch.tensor([1.0, 10, 100, 1000, 1e4, 1e5], dtype=torch.float64).reshape(1, 6, 1)
    rows = torch.tensor([1, 11, 111, 1111, 11111, 111111])
    columns = torch.tensor([1, 1011, 11111, 1001, 11011, 111111])
    rows_back = torch.tensor([111111, 111110, 111100, 111000, 110000, 100000])
    columns_back = torch.tensor([111111, 110110, 100100, 111110, 110100, 100000])
    got = Scan(_Sum(), cross, (1, 2, 3))(x)[0].flatten()
    assert got.tolist() == (rows + columns + rows_back + columns_back).tolist()
    gains = [_Sum(gain) for gain in (1, 3, 5, 7)]
    got = Scan(gains, cross, (1, 2, 3))(x)[0].flatten()
    assert got.tolist() == (rows + 3 * columns + 5 * rows_back + 7 * columns_back).tolist()


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3), (1, 2, 3)])
def test_flipping_the_film_flips_the_answer_when_paths_go_both_ways_along_every_axis(axes):
    scan = Scan(Mamba(5, d_state=3), list(_from_all_corners()), (2, 3, 4)).double()
    x = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    want = scan(x.flatten(1, 3))[0].reshape(x.shape).flip(axes)
    torch.testing.assert_close(scan(x.flip(axes).flatten(1, 3))[0].reshape(x.shape), want, rtol=1e-10, atol=1e-10)


def _from_all_corners():
    """The raster begun at each of the eight corners: a set that every flip maps onto itself."""
    for corner in range(8):
        axes = [axis for axis in range(3) if corner >> axis & 1]
        yield (
            lambda grid, device, axes=axes: torch.arange(grid[0] * grid[1] * grid[2]).reshape(grid).flip(axes).flatten()
        )


def test_turning_a_picture_by_half_or_transposing_it_turns_the_answer_of_the_cross():
    scan = Scan(Mamba(5, d_state=3), cross, (1, 4, 4)).double()
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64)
    y = scan(x.flatten(1, 2))[0].reshape(x.shape)
    for turn in (lambda z: z.flip(1, 2), lambda z: z.transpose(1, 2)):
        got = scan(turn(x).flatten(1, 2))[0].reshape(x.shape)
        torch.testing.assert_close(got, turn(y), rtol=1e-10, atol=1e-10)
    mirrored = scan(x.flip(2).flatten(1, 2))[0].reshape(x.shape)
    assert not torch.allclose(mirrored, y.flip(2))  # the four paths do not know a mirror


def test_gradients_are_those_of_finite_differences():
    scan = Scan(GatedRecurrence(3), spatiotemporal, (2, 2, 2)).double()
    x = torch.randn(1, 8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: scan(x)[0], x)


def test_mixers_of_their_own_learn_apart_and_a_shared_one_from_all_paths():
    x = torch.randn(1, 6, 3)
    apart = Scan([GatedRecurrence(3), GatedRecurrence(3)], [raster, reverse], (1, 2, 3))
    shared = Scan(apart.mixers[0], [raster, reverse], (1, 2, 3))
    assert len(list(apart.parameters())) == 2 * len(list(shared.parameters()))
    apart.mixers[1].load_state_dict(apart.mixers[0].state_dict())
    torch.testing.assert_close(apart(x)[0], shared(x)[0])
    apart(x)[0].square().sum().backward()
    parts = [[p.grad.clone() for p in mixer.parameters()] for mixer in apart.mixers]
    shared.zero_grad()
    shared(x)[0].square().sum().backward()
    for one, two, both in zip(*parts, shared.parameters(), strict=True):
        torch.testing.assert_close(one + two, both.grad, rtol=1e-4, atol=1e-5)


def test_every_token_reaches_every_other_along_the_cross():
    scan = Scan(GatedRecurrence(2), cross, (2, 3, 3)).double()
    reach = torch.autograd.functional.jacobian(lambda x: scan(x)[0].sum(-1)[0], torch.randn(1, 18, 2).double())
    assert (reach.abs().sum((1, 3)) > 0).all()


def test_mixers_without_causality_scan_too():
    mixer = Attention(4, 2, causal=False).double()
    x = torch.randn(2, 12, 4, dtype=torch.float64)
    scan = Scan(mixer, raster, (1, 3, 4))
    assert not scan.causal
    y, state = scan(x)  # attention without positions knows no order
    torch.testing.assert_close(y, mixer(x)[0])
    assert state is None
    torch.testing.assert_close(Scan(mixer, cross, (1, 3, 4))(x)[0], 4 * mixer(x)[0])


def test_a_new_grid_is_taken_up_and_blocks_of_scans_stack():
    scan = Scan(GatedRecurrence(4), Path("twh"), (1, 3, 4))
    stack = Stack([Block(4, scan), Block(4, GatedRecurrence(4))])
    assert not stack.causal and stack(torch.randn(1, 12, 4))[1] is None
    scan.grid = (2, 3, 4)
    assert stack(torch.randn(1, 24, 4))[0].shape == (1, 24, 4)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Scan([GatedRecurrence(3)] * 2, cross, (1, 2, 3)), "2 mixers for 4 paths"),
        (lambda: Scan(GatedRecurrence(3), [], (1, 2, 3)), "1 mixers for 0 paths"),
        (lambda: Scan([], [], (1, 2, 3)), "0 mixers for 0 paths"),
        (lambda: Scan(GatedRecurrence(3), raster, (1, 0, 3)), r"got \(1, 0, 3\)"),
        (
            lambda: Scan(GatedRecurrence(3), lambda grid, device: torch.zeros(6, dtype=torch.int64), (1, 2, 3)),
            "every token once",
        ),
        (lambda: Scan(GatedRecurrence(3), cross, (1, 2, 3))(torch.randn(1, 7, 3)), "holds 6 tokens, got 7"),
        (lambda: Scan(GatedRecurrence(3), cross, (1, 2, 3))(torch.randn(1, 6, 3), 1), "give no state"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
