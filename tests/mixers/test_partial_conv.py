import pytest
import torch

from seefar.mixers.hyena import Hyena, ImplicitConv
from seefar.mixers.partial_conv import PartialConv
from seefar.testing import check_streaming


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("taps", [None, 1, 5, 40])
def test_streams(taps):
    check_streaming(PartialConv(ImplicitConv(2, length=16), keep_time=taps), torch.randn(2, 21, 2, 3))


def test_streams_within_hyena_by_matrix_products():
    conv = PartialConv(ImplicitConv(2, length=16), keep_time=5, backend="monarch", factors=(4, 4))
    check_streaming(Hyena(4, heads=2, conv=conv), torch.randn(1, 15, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(PartialConv(ImplicitConv(2, length=16), keep_time=4)), torch.randn(1, 9, 2, 1))


def test_with_all_taps_it_is_the_implicit_filter():
    implicit, x = ImplicitConv(3, length=16).double(), torch.randn(2, 20, 3, 2).double()
    for given in ({}, {"backend": "monarch"}, {"backend": "monarch", "factors": (8, 8), "keep_freq": (8, 8)}):
        torch.testing.assert_close(PartialConv(implicit, **given)(x)[0], implicit(x)[0], rtol=1e-10, atol=1e-10)


def test_with_few_taps_it_forgets_what_is_older_and_holds_no_more():
    mixer, x = PartialConv(ImplicitConv(3, length=16), keep_time=4), torch.randn(1, 30, 3, 1)
    other = x.clone()
    other[:, :10] += 1
    y, state = mixer(x)
    torch.testing.assert_close(mixer(other)[0][:, 13:], y[:, 13:])
    assert (mixer(other)[0][:, 12] - y[:, 12]).abs().max() > 1e-4
    assert mixer.bounded and state.past_BNMS.shape[1] == 3 and len(state.taps_TM) == 4


def test_with_few_frequencies_it_is_smooth_but_for_what_acts_at_once():
    implicit = ImplicitConv(3, length=64).double()
    mixer = PartialConv(implicit, keep_freq=(8, 2), factors=(8, 16))
    x = torch.randn(1, 64, 3, 1).double()
    far = mixer(x)[0] - implicit.D[:, None] * x
    spectrum = torch.fft.rfft(torch.cat([implicit.kernel(64)[:1] - implicit.D, implicit.kernel(64)[1:]]), 128, dim=0)
    kept = (torch.arange(65) < 16)[:, None]
    want = torch.fft.irfft(torch.fft.rfft(x[0, ..., 0], 128, dim=0) * spectrum * kept, 128, dim=0)[:64]
    torch.testing.assert_close(far[0, ..., 0], want, rtol=1e-10, atol=1e-10)
    assert not mixer.causal and not mixer.bounded


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="at least 1 tap"):
        PartialConv(ImplicitConv(2), keep_time=0)
    state = PartialConv(ImplicitConv(2))(torch.randn(1, 4, 2, 1))[1]
    with pytest.raises(ValueError, match="looks ahead, so it takes no state; give keep_time"):
        PartialConv(ImplicitConv(2), keep_freq=(4, 2), factors=(4, 4))(torch.randn(1, 4, 2, 1), state)
