import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import DPLR, S4, S4D, Diagonal, Scan
from seefar.mixers.hippo import scattered
from seefar.positions.paths import raster, reverse
from seefar.testing import check_streaming


@pytest.mark.parametrize("kind", [S4, S4D])
def test_streams(kind):
    torch.manual_seed(0)
    check_streaming(kind(4, states=6), torch.randn(2, 33, 4))


@pytest.mark.parametrize("kind", [S4, S4D])
def test_a_broken_one_is_caught(broken, kind):
    with pytest.raises(AssertionError):
        check_streaming(broken(kind(4, states=6)), torch.randn(2, 33, 4))


@pytest.mark.parametrize("kind, system", [(S4, DPLR), (S4D, Diagonal)])
def test_it_is_its_state_space_then_a_gated_layer_over_channels(kind, system):
    mixer, x = kind(4, states=6), torch.randn(2, 20, 4)
    assert type(mixer.ssm) is system
    value, gate = mixer.out_proj(F.gelu(mixer.ssm(x)[0])).chunk(2, -1)
    torch.testing.assert_close(mixer(x)[0], value * gate.sigmoid())


def test_s4_has_a_rank_that_acts_and_s4d_has_none():
    mixer, x = S4(4, states=6), torch.randn(2, 20, 4)
    whole = mixer(x)[0]
    with torch.no_grad():
        mixer.ssm.P.zero_()
    assert (mixer(x)[0] - whole).abs().max() > 1e-4
    assert "P" not in dict(S4D(4, states=6).ssm.named_parameters())


def test_two_of_them_read_an_image_from_both_ends():
    both = Scan([S4(4, states=6), S4(4, states=6)], (raster, reverse), (1, 3, 5))
    x = torch.randn(2, 15, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(both(x)[0][:, 7].sum(), x)
    assert (grad.abs().sum((0, 2)) > 0).all()


def test_another_start_may_be_given():
    torch.manual_seed(0)
    assert not torch.equal(S4(4, states=6, init=scattered).ssm.A_imag, S4(4, states=6).ssm.A_imag)


def test_half_precision_runs_around_a_system_in_float32():
    mixer = S4(4, states=6)
    mixer.out_proj.bfloat16()
    y, state = mixer(torch.randn(1, 9, 4).bfloat16())
    assert y.dtype == torch.bfloat16 and state.x_BDS.dtype == torch.float32


@pytest.mark.parametrize("kind", [S4, S4D])
def test_wrong_input_is_refused(kind):
    with pytest.raises(ValueError, match="even number, got 3"):
        kind(4, states=3)
    with pytest.raises(ValueError, match="must be positive"):
        kind(4, dt=(0, 1))
