"""Oracles: SciPy's lfilter for every average, the FFT with the whole kernel, an explicit matrix for both directions."""

import pytest
import torch
from scipy.signal import lfilter
from torch.autograd import gradcheck

from seefar.mixers.ema import EMA
from seefar.ops.long_conv import long_conv
from seefar.testing import check_streaming


def make(dim=3, **options):
    torch.manual_seed(0)
    return EMA(dim, **options).double()


@pytest.mark.parametrize("tokens", [33, 150])
def test_streams(tokens):
    check_streaming(make(states=4), torch.randn(2, tokens, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make(states=4)), torch.randn(2, 33, 3))


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 128, 200])
def test_equals_recursive_filters_of_scipy(tokens):
    mixer, x = make(states=5), torch.randn(2, tokens, 3).double()
    p, a = mixer.delta.sigmoid(), mixer.alpha.sigmoid()
    want = mixer.omega * x
    for d in range(3):
        for s in range(5):
            gain = (p * mixer.beta)[d, s].item()
            h = lfilter([gain], [1, -(1 - p * a)[d, s].item()], x[..., d].numpy(), axis=1)
            want[..., d] = want[..., d] + mixer.gamma[d, s] * torch.from_numpy(h) / 5**0.5
    torch.testing.assert_close(mixer(x)[0], want, rtol=1e-10, atol=1e-10)


def test_equals_the_fft_with_the_kernel_of_the_whole_sequence():
    mixer, x = make(states=4), torch.randn(2, 201, 3).double()
    want = long_conv(x, mixer.kernel(201).mT) + mixer.omega * x
    torch.testing.assert_close(mixer(x)[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tokens", [1, 5, 90])
def test_both_directions_are_the_matrix_of_two_kernels_and_a_token_meets_itself_once(tokens):
    mixer, x = make(states=4, bidirectional=True), torch.randn(2, tokens, 3).double()
    before, after = mixer.kernel(tokens).chunk(2)
    apart = torch.arange(tokens)[:, None] - torch.arange(tokens)
    matrix = torch.where(apart >= 0, before[:, apart.clamp(min=0)], after[:, (-apart).clamp(min=0)])
    want = torch.einsum("dts,bsd->btd", matrix, x) + mixer.omega * x
    y, state = mixer(x)
    torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
    assert state is None


def test_a_channel_has_as_many_speeds_as_states():
    kernel = make(1, states=3).kernel(12)[0]
    hankel = kernel.unfold(0, 6, 1)
    assert torch.linalg.matrix_rank(hankel, rtol=1e-12) == 3


def test_without_averages_only_the_token_itself_is_left():
    mixer, x = make(states=4), torch.randn(2, 70, 3).double()
    with torch.no_grad():
        mixer.alpha.fill_(-torch.inf)
        mixer.delta.fill_(-torch.inf)
    torch.testing.assert_close(mixer(x)[0], mixer.omega * x, rtol=0, atol=0)


def test_an_average_that_forgets_at_once_has_finite_gradients():
    mixer, x = make(states=2), torch.randn(1, 70, 3).double()
    with torch.no_grad():
        mixer.alpha.fill_(100)
        mixer.delta.fill_(100)
    mixer(x)[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())


def test_gradients_match_finite_differences():
    mixer = make(2, states=2)
    assert gradcheck(lambda x: mixer(x)[0], torch.randn(1, 70, 2).double().requires_grad_())


def test_half_precision_keeps_its_averages_in_float32():
    y, state = EMA(4).bfloat16()(torch.randn(1, 9, 4).bfloat16())
    assert y.dtype == torch.bfloat16 and state.h_BDS.dtype == torch.float32


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="states=0"):
        EMA(4, states=0)
    with pytest.raises(ValueError, match="length must be at least 1"):
        EMA(4).kernel(0)
    causal, both = make(), make(bidirectional=True)
    with pytest.raises(ValueError, match="no state to go on from"):
        both(torch.randn(1, 3, 3), causal(torch.randn(1, 3, 3).double())[1])
