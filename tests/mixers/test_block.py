import pytest
import torch

from seefar.mixers import Attention, Block, GatedRecurrence, Mamba, Stack
from seefar.positions import Rope
from seefar.testing import check_streaming


def _layers() -> list[Block]:
    return [
        Block(8, Attention(8, 2, window=5, rope=Rope(4))),
        Block(8, Mamba(8, d_state=3), mlp_ratio=0),
        Block(8, GatedRecurrence(8), mlp_ratio=1.5),
    ]


@pytest.mark.parametrize("ratio", [0, 4.0])
def test_a_block_streams(ratio):
    check_streaming(Block(8, Attention(8, 2), mlp_ratio=ratio), torch.randn(2, 19, 8))


def test_a_stack_of_different_blocks_streams():
    check_streaming(Stack(_layers()), torch.randn(2, 19, 8))


def test_a_broken_block_or_stack_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(Stack(_layers())), torch.randn(2, 19, 8))
    with pytest.raises(AssertionError):
        check_streaming(Block(8, broken(GatedRecurrence(8))), torch.randn(2, 19, 8))


def test_a_stack_that_mixes_up_its_states_is_caught():
    class Swaps(Stack):
        def forward(self, x, state=None):
            return super().forward(x, None if state is None else state[::-1])

    with pytest.raises(AssertionError, match="chunks of 1: outputs"):
        check_streaming(Swaps([GatedRecurrence(8), GatedRecurrence(8)]), torch.randn(2, 19, 8))


def test_a_stack_keeps_what_is_packed_into_one_row_apart():
    stack = Stack([Block(8, Attention(8, 2, causal=False)) for _ in range(2)]).double()
    x, segments = torch.randn(1, 9, 8, dtype=torch.float64), torch.tensor([[0] * 5 + [1] * 4])
    alone = torch.cat([stack(x[:, :5])[0], stack(x[:, 5:])[0]], 1)
    torch.testing.assert_close(stack(x, segments=segments)[0], alone)
    assert not torch.allclose(stack(x)[0], alone)
    with pytest.raises(TypeError, match="segments"):
        Block(8, GatedRecurrence(8))(x.float(), segments=segments)


def test_a_block_adds_to_what_came_in():
    mixer = GatedRecurrence(6).double()
    block = Block(6, mixer, mlp_ratio=2).double()
    with torch.no_grad():
        for weight in block.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    x = torch.randn(2, 7, 6, dtype=torch.float64)

    def normed(x, norm):
        return norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    mixed = x + mixer(normed(x, block.norm))[0]
    norm, up, _, down = block.mlp
    hidden = normed(mixed, norm) @ up.weight.T + up.bias
    assert hidden.shape[-1] == 12
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(block(x)[0], mixed + gelu @ down.weight.T + down.bias)


def test_without_an_mlp_only_the_mixer_is_left():
    block = Block(6, GatedRecurrence(6), mlp_ratio=0)
    assert block.mlp is None
    assert {name.split(".")[0] for name, _ in block.named_parameters()} == {"norm", "mixer"}


def test_the_norm_is_a_choice():
    block = Block(6, GatedRecurrence(6), norm=torch.nn.LayerNorm)
    assert isinstance(block.norm, torch.nn.LayerNorm) and isinstance(block.mlp[0], torch.nn.LayerNorm)
    assert isinstance(Block(6, GatedRecurrence(6)).mlp[0], torch.nn.RMSNorm)


def test_the_state_of_a_block_is_its_mixers_own():
    mixer = GatedRecurrence(6)
    x = torch.randn(1, 4, 6)
    block = Block(6, mixer)
    torch.testing.assert_close(block(x)[1], mixer(block.norm(x))[1])


def test_one_part_that_is_not_causal_or_bounded_decides_for_the_stack():
    assert Stack(_layers()).causal and Stack(_layers()).bounded
    assert not Stack([*_layers(), Block(8, Attention(8, 2))]).bounded
    mixed = Stack([*_layers(), Block(8, Attention(8, 2, causal=False))])
    assert not mixed.causal
    y, state = mixed(torch.randn(1, 4, 8))
    assert y.shape == (1, 4, 8) and state is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Block(8, GatedRecurrence(8), mlp_ratio=-1), "-1"),
        (lambda: Stack([]), "at least one"),
        (lambda: Stack(_layers())(torch.randn(1, 4, 8), (None,)), "3 mixers.*got 1"),
        (
            lambda: Stack([GatedRecurrence(8), Attention(8, 2, causal=False)])(torch.randn(1, 4, 8), (None, None)),
            r"\[1\] are not causal",
        ),
        (lambda: Block(8, Attention(8, 2, causal=False))(torch.randn(1, 4, 8), 3), "no state"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
