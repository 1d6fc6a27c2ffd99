import pytest
import torch

from seefar.mixers.hyena import Hyena, ImplicitConv
from seefar.testing import check_streaming


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("heads", [None, 2, 1])
def test_streams(heads):
    check_streaming(Hyena(4, heads=heads, length=16), torch.randn(2, 33, 4))


def test_streams_without_a_short_filter():
    check_streaming(Hyena(4, heads=2, length=16, short=1), torch.randn(1, 12, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(Hyena(4, length=16)), torch.randn(2, 33, 4))


@pytest.mark.parametrize("heads", [6, 3, 2])
def test_it_is_its_equation_token_by_token(heads):
    mixer, x = Hyena(6, heads=heads, length=9).double(), torch.randn(2, 11, 6).double()
    p = mixer.in_proj(x)
    near = torch.zeros_like(p) + mixer.short_conv.bias
    for back in range(3):
        near[:, back:] += p[:, : 11 - back] * mixer.short_conv.weight[:, 0, 2 - back]
    q, k, v = near.unflatten(-1, (3, heads, 6 // heads)).unbind(2)
    h = mixer.conv.kernel(11)
    y = torch.zeros_like(q)
    for t in range(11):
        for s in range(t + 1):
            met = (k[:, s] * q[:, t]).sum(-1, keepdim=True)
            y[:, t] += h[t - s, :, None] * v[:, s] * met
    torch.testing.assert_close(mixer(x)[0], mixer.out_proj(y.flatten(2)), rtol=1e-10, atol=1e-10)


def test_with_a_head_for_each_channel_it_is_hyena_of_order_two():
    mixer, x = Hyena(4, length=8), torch.randn(1, 8, 4)
    assert mixer.heads == 4 and mixer.conv.kernel(8).shape == (8, 4)
    with torch.no_grad():
        mixer.conv.out.weight.zero_()
    # with D alone the filter does nothing along N, so a change stays within the reach of the short filter
    later = x.clone()
    later[:, 0] += 1
    torch.testing.assert_close(mixer(later)[0][:, 3:], mixer(x)[0][:, 3:])
    mixer.conv.out.reset_parameters()
    assert (mixer(later)[0][:, 3:] - mixer(x)[0][:, 3:]).abs().max() > 1e-3


def test_few_weights_make_any_number_of_taps_and_the_window_closes():
    conv = ImplicitConv(5, length=100)
    taps = conv.kernel(1000)
    torch.testing.assert_close(taps[:77], conv.kernel(77))
    assert taps[:10].abs().max() > 0.05
    assert taps[900:].abs().max() < 1e-8
    fast, slow = conv.get_buffer("decay_M")[[0, -1]]
    assert torch.exp(-fast * 0.3) == pytest.approx(0.01) and torch.exp(-slow * 1.5) == pytest.approx(0.01)


def test_half_precision_runs_around_a_filter_in_float32():
    mixer = Hyena(4, length=8).bfloat16()
    mixer.conv.float()
    y, state = mixer(torch.randn(1, 5, 4).bfloat16())
    assert y.dtype == torch.bfloat16 and state.long.past_BNMS.dtype == torch.float32


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="heads must divide dim=6, got 4"):
        Hyena(6, heads=4)
    with pytest.raises(ValueError, match="short=0"):
        Hyena(6, short=0)
    with pytest.raises(ValueError, match="length=0"):
        ImplicitConv(2, length=0)
    with pytest.raises(ValueError, match="a window must fall"):
        ImplicitConv(2, decay=(0.0, 1.0))
    with pytest.raises(ValueError, match="at least one tap"):
        ImplicitConv(2).kernel(0)
