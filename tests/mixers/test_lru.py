import math

import pytest
import torch

from seefar.mixers.lru import LRU
from seefar.testing import check_streaming


@pytest.mark.parametrize("phase", [0, 1.0, 2 * math.pi])
def test_streams(phase):
    check_streaming(LRU(5, states=7, phase=phase), torch.randn(2, 33, 5))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(LRU(4)), torch.randn(2, 9, 4))


def test_follows_its_equation_token_by_token():
    mixer, x = LRU(3, states=4).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    eigenvalue = torch.exp(torch.complex(-mixer.nu.exp(), mixer.theta))
    B, C = torch.view_as_complex(mixer.B), torch.view_as_complex(mixer.C)
    h = torch.zeros(2, 4, dtype=torch.complex128)
    got, state = mixer(x)
    for t in range(9):
        h = eigenvalue * h + mixer.log_gamma.exp() * (x[:, t].to(h) @ B.mT)
        torch.testing.assert_close(got[:, t], (h @ C.mT).real + mixer.D * x[:, t])
    torch.testing.assert_close(state.x_BDS[:, 0], torch.cat([h.real, h.imag], -1))


def test_begins_in_the_ring_with_states_of_one_size():
    torch.manual_seed(0)
    mixer = LRU(16, states=500, radius=(0.8, 0.95), phase=1.0)
    eigenvalue = mixer.eigenvalues()
    assert eigenvalue.abs().min() > 0.799 and eigenvalue.abs().max() < 0.951
    assert (eigenvalue.angle() >= 0).all() and eigenvalue.angle().max() <= 1.001
    size = mixer.states(torch.randn(64, 400, 16))[:, -1].abs().square().mean(0)
    assert 0.8 < size.mean() < 1.2


def test_no_phase_means_real_numbers():
    mixer = LRU(4, phase=0)
    assert not mixer.states(torch.randn(1, 5, 4)).is_complex() and mixer.B.shape == (4, 4, 1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LRU(4, states=0), "got 0"),
        (lambda: LRU(4, radius=(0.5, 1.0)), r"\(0, 1\).*\(0.5, 1.0\)"),
        (lambda: LRU(4, phase=7.0), "2 pi"),
        (lambda: LRU(4).half()(torch.randn(1, 3, 4)), "too coarse"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
