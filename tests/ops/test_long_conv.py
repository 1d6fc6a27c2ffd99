"""Oracles: SciPy's lfilter and fftconvolve, torch's own convolution, autograd through the written-out loop."""

import pytest
import torch
from scipy.signal import fftconvolve, lfilter
from torch.autograd import gradcheck, gradgradcheck

from seefar.ops.long_conv import BACKENDS, long_conv
from seefar.ops.long_conv.fft import _fast_length
from seefar.testing import check_op


def inputs(N, taps=None, *rest, shared=None):
    generator = torch.Generator().manual_seed(N)
    u = torch.randn(2, N, *rest, generator=generator, dtype=torch.float64)
    k = torch.randn(taps or N, *(shared or rest), generator=generator, dtype=torch.float64)
    return {"u": u, "k": k}


@pytest.mark.parametrize(("taps", "rest"), [(None, (5,)), (7, (3,)), (200, (2, 3)), (None, ())])
def test_backends_agree_with_the_loop_in_outputs_and_gradients(taps, rest):
    check_op(long_conv, BACKENDS, lambda N: inputs(N, taps, *rest), lengths=(1, 2, 63, 64, 100, 127))


def test_taps_may_be_shared_among_channels():
    check_op(long_conv, BACKENDS, lambda N: inputs(N, None, 3, 4, shared=(3, 1)), lengths=(1, 33))
    given = inputs(33, None, 3, 4, shared=(3, 1))
    torch.testing.assert_close(long_conv(**given), long_conv(given["u"], given["k"].expand(33, 3, 4)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("taps", [1, 40, 101, 300])
def test_equals_a_filter_of_scipy(backend, taps):
    u, k = inputs(101, taps, 3).values()
    got = long_conv(u, k, backend=backend)
    for d in range(3):
        want = torch.from_numpy(lfilter(k[:, d].numpy(), [1.0], u[..., d].numpy(), axis=1))
        torch.testing.assert_close(got[..., d], want, rtol=1e-12, atol=1e-12)
    full = fftconvolve(u.numpy(), k.numpy()[None], axes=1)[:, :101]
    torch.testing.assert_close(got, torch.from_numpy(full), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("N", [64, 100, 127])
def test_the_end_never_meets_the_start(N):
    u, k = inputs(N, None, 2).values()
    later = u.clone()
    later[:, -1] += 1e6
    torch.testing.assert_close(long_conv(later, k)[:, :-1], long_conv(u, k)[:, :-1], rtol=0, atol=1e-8)
    wrapped = torch.fft.irfft(torch.fft.rfft(u, N, dim=1) * torch.fft.rfft(k, N, dim=0), N, dim=1)
    assert (wrapped - long_conv(u, k)).abs().max() > 1


def test_gradients_match_finite_differences_twice():
    given = [value.requires_grad_() for value in inputs(9, 5, 2).values()]
    assert gradcheck(long_conv, given)
    assert gradgradcheck(long_conv, given)


def test_float32_over_many_tokens_keeps_six_digits():
    u, k = inputs(20_000, None, 2).values()
    want = long_conv(u, k)
    assert (long_conv(u.float(), k.float()) - want).norm() / want.norm() < 1e-6


def test_half_precision_runs_by_the_loop():
    u, k = (value.bfloat16() for value in inputs(8, 3, 2).values())
    assert long_conv(u, k).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match=r"needs float32 or float64, got torch\.bfloat16"):
        long_conv(u, k, backend="fft")


def test_transforms_have_lengths_that_are_fast_and_no_shorter_than_asked():
    lengths = [_fast_length(n) for n in range(1, 5000)]
    assert all(n <= fast <= max(n + 1, 1.34 * n) for n, fast in enumerate(lengths, 1))
    assert all(fast // (fast & -fast) in (1, 3, 5) for fast in lengths)


def test_no_tokens_give_no_tokens():
    assert long_conv(torch.ones(2, 0, 3), torch.ones(4, 3)).shape == (2, 0, 3)


def test_misfits_are_refused_with_what_to_do():
    u = torch.ones(2, 4, 3)
    with pytest.raises(ValueError, match=r"got \(2, 4, 3\) and \(4,\)"):
        long_conv(u, torch.ones(4))
    with pytest.raises(ValueError, match=r"\(3,\), or 1 to share taps; got \(2,\)"):
        long_conv(u, torch.ones(4, 2))
    with pytest.raises(ValueError, match="no taps"):
        long_conv(u, torch.ones(0, 3))
    with pytest.raises(ValueError, match=r"call k.to\(u\)"):
        long_conv(u, torch.ones(4, 3).double())
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*fft"):
        long_conv(u, torch.ones(4, 3), backend="cuda")
