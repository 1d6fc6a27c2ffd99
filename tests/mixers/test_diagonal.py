"""Oracles: SciPy's zero-order hold, the recurrence itself by linear_scan."""

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete

from seefar.mixers import Diagonal
from seefar.mixers.hippo import legs
from seefar.ops.linear_scan import linear_scan
from seefar.testing import check_streaming


def mixer(dim=3, states=8, **options):
    torch.manual_seed(0)
    return Diagonal(dim, states=states, **options).double()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 16, 17, 100, 127])
def test_equals_the_recurrence(length):
    ours, u = mixer(), torch.randn(2, length, 3, dtype=torch.float64)
    eigenvalue = torch.complex(-ours.log_A_real.exp(), ours.A_imag)
    gain = (ours.log_dt.exp()[:, None] * eigenvalue).exp()
    pushes = (gain - 1) / eigenvalue * u[..., None]
    states = linear_scan(gain.expand_as(pushes).contiguous(), pushes)
    want = 2 * (torch.view_as_complex(ours.C) * states).real.sum(-1) + ours.D * u
    got, end = ours(u)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.complex(*end.x_BDS.chunk(2, -1)), states[:, -1], rtol=0, atol=1e-12)


def test_its_steps_are_the_zero_order_hold_of_scipy():
    ours = mixer(1, 2)
    lam = complex(-ours.log_A_real.exp().item(), 3.0)
    with torch.no_grad():
        ours.A_imag.fill_(3.0)
    kernel = ours.kernel(50)[0]
    A = np.array([[lam.real, -lam.imag], [lam.imag, lam.real]])
    c = torch.view_as_complex(ours.C)[0, 0].item()
    exact = (A, np.array([[1.0], [0.0]]), np.array([[2 * c.real, -2 * c.imag]]), np.zeros((1, 1)))
    Ab, Bb, C, *_ = cont2discrete(exact, ours.log_dt.exp().item(), method="zoh")
    want = [(C @ np.linalg.matrix_power(Ab, t) @ Bb).item() for t in range(50)]
    np.testing.assert_allclose(kernel.detach(), want, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"init": legs}])
def test_streams(options):
    check_streaming(mixer(**options), torch.randn(2, 33, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(mixer()), torch.randn(2, 33, 3))


@pytest.mark.parametrize("finer", [2, 3])
def test_an_input_sampled_more_finely_gives_exactly_the_same_at_that_rate(finer):
    ours = mixer()
    want = ours.kernel(40)
    ours.rate = 1 / finer
    torch.testing.assert_close(ours.kernel(40 * finer).unflatten(1, (40, finer)).sum(-1), want, rtol=0, atol=1e-12)


def test_small_steps_lose_no_digits_in_float32():
    ours = mixer(4, 16, dt=(1e-6, 1e-5))
    want = ours.kernel(1000)
    got = ours.float().kernel(1000)
    assert (got - want).norm() / want.norm() < 1e-6


def test_the_state_has_one_size_and_keeps_no_chunk_alive():
    ours = mixer().float()
    with torch.no_grad():
        for N in (1, 2, 500):
            x = ours(torch.randn(2, N, 3))[1].x_BDS
            assert x.shape == (2, 3, 8) and x.untyped_storage().nbytes() == 2 * 3 * 8 * 4


def test_its_own_weights_are_marked_against_decay():
    marked = {name for name, p in mixer().named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == {"log_dt", "log_A_real", "A_imag", "D"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Diagonal(3, states=5), "even number, got 5"),
        (lambda: Diagonal(3, dt=(-1.0, 0.1)), "must be positive"),
        (lambda: Diagonal(3, rate=0)(torch.ones(1, 4, 3)), "rate must be positive.*got 0"),
        (lambda: Diagonal(3).bfloat16()(torch.ones(1, 4, 3)), r"log_dt is torch\.bfloat16"),
        (lambda: mixer().kernel(0), "length must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
