"""Oracles: SciPy's zero-order hold of the dense real HiPPO system, the recurrence written out in complex numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import cont2discrete

from seefar.mixers import ConvS5, ConvSSM, ConvSSMState, PostNorm, Stack
from seefar.mixers.conv_ssm import conv_frames, he_kernel
from seefar.mixers.hippo import legs_matrix
from seefar.testing import check_streaming


def mixer(dim=3, **options):
    torch.manual_seed(0)
    return ConvSSM(dim, **{"states": 8} | options).double()


def pictures(frames, *, dim=3, size=(4, 5), batch=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, frames, *size, dim, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("options", [{}, {"blocks": 2}, {"kernel": 1}, {"kernel": 5, "states": 2}])
def test_streams(options):
    check_streaming(mixer(**options), pictures(16))


def test_a_layer_and_a_column_of_layers_stream():
    torch.manual_seed(0)
    check_streaming(Stack([PostNorm(4, ConvS5(4, groups=2)) for _ in range(2)]), pictures(9, dim=4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(mixer()), pictures(9))


@pytest.mark.parametrize("frames", [1, 2, 33])
def test_the_scan_equals_the_recurrence_from_any_state(frames):
    ours, u = mixer(), pictures(frames)
    gain, B, C = ours.discrete()
    start = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    x = torch.complex(*start.chunk(2, -1)).permute(0, 3, 1, 2)
    want = []
    for u_n in u.unbind(1):
        x = gain[:, None, None] * x + F.conv2d(u_n.permute(0, 3, 1, 2) + 0j, B, padding="same")
        want.append(2 * F.conv2d(x, C, padding="same").real.permute(0, 2, 3, 1))
    got, end = ours(u, ConvSSMState(start))
    torch.testing.assert_close(got, torch.stack(want, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.complex(*end.x_BHWS.chunk(2, -1)), x.permute(0, 2, 3, 1), rtol=0, atol=1e-10)


def test_it_starts_as_the_dense_real_system_with_the_normal_part_of_hippo():
    """The kept half of the conjugate pairs gives what all states of x' = A x + B u, y = C x give."""
    S, dim, dt = 8, 3, 0.05
    ours = mixer(kernel=1, dt=(dt, dt))
    torch.manual_seed(0)
    torch.empty(S // 2).uniform_()  # the steps, drawn first
    B, C = he_kernel(S, dim, 1)[..., 0, 0].double(), he_kernel(dim, S, 1)[..., 0, 0].double()
    P = torch.sqrt(torch.arange(S).double() + 0.5)
    normal = legs_matrix(S)[0] + torch.outer(P, P)
    Ab, Bb, *_ = cont2discrete((normal.numpy(), B.numpy(), C.numpy(), np.zeros((dim, dim))), dt, method="zoh")
    u, x, want = pictures(40, size=(1, 1), batch=1), np.zeros(S), []
    for u_n in u[0, :, 0, 0].numpy():
        x = Ab @ x + Bb @ u_n
        want.append(C.numpy() @ x)
    np.testing.assert_allclose(ours(u)[0][0, :, 0, 0].detach(), want, rtol=1e-5, atol=1e-5)  # kept in float32


def test_blocks_are_equal_memories_side_by_side():
    one, two = mixer(states=4), mixer(states=8, blocks=2)
    for name in ("A_real", "A_imag"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name).repeat(2))
    assert (one.A_real + 0.5).abs().max() < 1e-6 and (one.A_imag > 0).all()


def test_steps_lie_in_their_range_and_a_learnt_growth_is_clipped():
    ours = mixer(states=200)
    assert ours.log_dt.exp().min() >= 1e-3 and ours.log_dt.exp().max() <= 1e-1 and ours.log_dt.std() > 1
    with torch.no_grad():
        ours.A_real.fill_(3.0)
    assert (ours.discrete()[0].abs() < 1).all()


@pytest.mark.parametrize("kernel, reach", [(1, 0), (3, 2), (5, 4)])
def test_however_long_the_video_a_layer_looks_no_further_than_its_two_kernels(kernel, reach):
    u = pictures(30, size=(1, 13)).requires_grad_()
    y, _ = mixer(kernel=kernel)(u)
    (grad,) = torch.autograd.grad(y[:, -1, 0, 6].sum(), u)
    seen = grad[:, 0, 0].abs().sum((0, 2)) > 0
    assert seen.nonzero().flatten().tolist() == list(range(6 - reach, 6 + reach + 1))


def test_a_wider_kernel_of_the_state_would_grow_with_every_product():
    K, spike = torch.ones(1, 1, 3, 3), F.pad(torch.ones(1, 1, 1, 1), [8] * 4)
    sides = []
    for _ in range(4):
        spike = F.conv2d(spike, K, padding=1)
        sides.append(int((spike[0, 0].sum(0) > 0).sum()))
    assert sides == [3, 5, 7, 9]


def test_an_input_sampled_twice_as_finely_gives_the_same_at_half_the_rate():
    ours, u = mixer(), pictures(10)
    want, _ = ours(u)
    ours.rate = 0.5
    got, _ = ours(u.repeat_interleave(2, 1))
    torch.testing.assert_close(got[:, 1::2], want, rtol=0, atol=1e-10)


def test_a_layer_refines_each_frame_by_itself():
    layer, u = ConvS5(4, groups=2).double(), pictures(3, dim=4)
    z = layer.ssm(u)[0]
    for n in range(3):
        frame = z[:, n].permute(0, 3, 1, 2)
        want = F.gelu(frame + layer.refine(frame)).permute(0, 2, 3, 1)
        torch.testing.assert_close(layer(u)[0][:, n], want)


def test_the_state_has_the_size_of_a_picture_and_keeps_no_clip_alive():
    ours = mixer().float()
    with torch.no_grad():
        for frames in (1, 50):
            x = ours(pictures(frames).float())[1].x_BHWS
            assert x.shape == (2, 4, 5, 8) and x.untyped_storage().nbytes() == 2 * 4 * 5 * 8 * 4


def test_half_precision_runs_around_a_system_in_float32():
    y, state = mixer().float()(pictures(3).bfloat16())
    assert y.dtype == torch.bfloat16 and state.x_BHWS.dtype == torch.float32


def test_a_kernel_acts_on_each_frame_with_zeros_beyond_its_edge():
    ones = conv_frames(torch.ones(1, 2, 3, 3, 1), torch.ones(1, 1, 3, 3))
    assert ones[0, 1, ..., 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ConvSSM(4, kernel=2), "odd side, such as 3, got 2"),
        (lambda: ConvSSM(4, states=5), "even number, got 5"),
        (lambda: ConvSSM(4, states=6, blocks=4), "divide the 6 states, got 4"),
        (lambda: ConvSSM(4, dt=(0.0, 1.0)), "must be positive"),
        (lambda: ConvS5(6, groups=4), "divide dim=6, got 4"),
        (lambda: mixer()(torch.zeros(2, 9, 3)), r"\(B, N, H, W, 3\), got \(2, 9, 3\)"),
        (
            lambda: mixer()(pictures(2, size=(4, 4)), mixer()(pictures(1))[1]),
            "2 clips of 4 x 5 places, now come 2 of 4 x 4",
        ),
        (lambda: mixer().bfloat16()(pictures(1)), r"log_dt is torch\.bfloat16"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
