import numpy as np
import pytest
import torch
from scipy import signal

from seefar.mixers.modal import Modal
from seefar.testing import check_streaming


def waves(heads=2, poles=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    radius, angle = torch.rand(2, heads, poles, generator=generator, dtype=torch.float64).unbind()
    residue = torch.randn(heads, poles, generator=generator, dtype=torch.complex128)
    return torch.polar(0.5 + 0.49 * radius, 3 * angle), residue, torch.randn(heads, generator=generator).double()


def test_streams():
    check_streaming(Modal(*waves()), torch.randn(2, 33, 2, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(Modal(*waves())), torch.randn(2, 33, 2, 3))


def test_it_filters_as_scipy_does():
    poles, residues, direct = waves()
    x = torch.randn(1, 50, 2, 1, dtype=torch.float64)
    y, _ = Modal(poles, residues, direct)(x)
    for head in range(2):
        # Re R z^-1 / (1 - lambda z^-1) is half of the sum over lambda and its conjugate
        r, p = residues[head].numpy() / 2, poles[head].numpy()
        b, a = signal.invresz(np.r_[r, r.conj()], np.r_[p, p.conj()], [])
        want = (
            signal.lfilter(np.r_[0, b].real, a.real, x[0, :, head, 0]) + direct[head].item() * x[0, :, head, 0].numpy()
        )
        np.testing.assert_allclose(y[0, :, head, 0].detach(), want, rtol=1e-9, atol=1e-9)


def test_a_prompt_read_at_once_leaves_the_state_that_the_recurrence_leaves():
    modal, x = Modal(*waves()), torch.randn(1, 200, 2, 1, dtype=torch.float64)
    state = None
    for token in x.split(1, 1):
        _, state = modal(token, state)
    torch.testing.assert_close(modal(x)[1].x_BMSP2, state.x_BMSP2, rtol=1e-10, atol=1e-10)


def test_poles_stay_inside_of_the_circle_whatever_is_learnt():
    modal = Modal(*waves())
    with torch.no_grad():
        modal.log_decay.uniform_(-8, 8)
        modal.angle.normal_(0, 100)
    assert (modal._exponent().exp().abs() < 1).all()
    assert modal.kernel(5000).isfinite().all()


def test_a_pole_at_zero_is_over_at_once():
    modal = Modal(torch.zeros(1, 1, dtype=torch.complex64), torch.ones(1, 1, dtype=torch.complex64), torch.zeros(1))
    torch.testing.assert_close(modal.kernel(4)[:, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=1e-7, rtol=0)


def test_wrong_input_is_refused():
    poles, residues, direct = waves()
    with pytest.raises(ValueError, match="of radius 1 would never forget"):
        Modal(poles / poles.abs(), residues, direct)
    with pytest.raises(ValueError, match="direct is"):
        Modal(poles, residues[:, :2], direct)
