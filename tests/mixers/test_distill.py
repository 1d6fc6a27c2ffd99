import numpy as np
import pytest
import scipy.linalg
import torch

from seefar.mixers import MLP, column
from seefar.mixers.distill import distill, hankel_values, to_recurrence
from seefar.mixers.hyena import Hyena
from seefar.mixers.modal import Modal
from seefar.testing import check_streaming

METHODS = ["modal", "balanced", "hankel", "prony"]


def made_of(poles, residues, direct=0.7, length=200):
    """Taps Re sum_p R_p lambda_p^(t-1) by plain powers."""
    t = np.arange(length - 1)
    later = sum((r * p**t).real for p, r in zip(poles, residues, strict=True))
    return torch.from_numpy(np.r_[direct, later])[:, None]


def decaying(length=101, seed=0):
    """A filter of no finite order: noise, smoothed, under a window."""
    noise = np.random.default_rng(seed).standard_normal(length + 8)
    smooth = np.convolve(noise, np.hanning(9), "valid")[:length]
    return torch.from_numpy(smooth * np.exp(-4 * np.arange(length) / length))[:, None]


POLES = [0.9 * np.exp(0.5j), 0.8 * np.exp(2.0j), 0.95 + 0j, -0.6 + 0j]
"""Two pairs and two real ones: order six."""
RESIDUES = [1 - 2j, 0.5 + 1j, -0.7 + 0j, 2.0 + 0j]


@pytest.mark.parametrize("method", METHODS)
def test_a_filter_made_of_modes_comes_back(method):
    found = to_recurrence(made_of(POLES, RESIDUES), 6, method)
    # balanced truncation takes the filter to be over after its taps, which leaves 0.95^200
    exact = 1e-3 if method == "balanced" else 1e-8
    assert found.error[0] < exact
    if method != "balanced":
        got = sorted(found.poles[0].numpy(), key=lambda z: (z.real, z.imag))
        np.testing.assert_allclose(got, sorted(POLES, key=lambda z: (z.real, z.imag)), atol=1e-8)
        torch.testing.assert_close(found.kernel(400), made_of(POLES, RESIDUES, length=400), atol=1e-8, rtol=0)


@pytest.mark.parametrize("method", ["modal", "hankel"])
def test_more_order_than_it_takes_does_no_harm(method):
    assert to_recurrence(made_of(POLES, RESIDUES), 11, method).error[0] < 1e-7


def test_real_poles_alone_would_not_do():
    """The order counts conjugates, so one wave takes two and no real pole can stand for it."""
    wave = made_of(POLES[:1], RESIDUES[:1])
    assert to_recurrence(wave, 2).error[0] < 1e-8
    assert to_recurrence(wave, 1).error[0] > 0.5


def test_hankel_singular_values_are_those_of_scipy():
    h = decaying()
    matrix = scipy.linalg.hankel(h[1:, 0].numpy())
    np.testing.assert_allclose(hankel_values(h)[0], scipy.linalg.svdvals(matrix), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [2, 4, 8])
def test_no_recurrence_beats_the_next_hankel_singular_value(method, order):
    h = decaying()
    found = to_recurrence(h, order, method)
    n = len(h) - 1
    padded = np.r_[h[1:, 0].numpy(), np.zeros(n)]
    off = found.kernel(2 * n + 1)[1:, 0].numpy() - padded
    error = scipy.linalg.svdvals(scipy.linalg.hankel(off[:n], off[n - 1 : 2 * n - 1]))[0]
    assert error >= found.sigma[0, order] * (1 - 1e-9)


@pytest.mark.parametrize("order", [2, 5, 8, 20])
def test_balanced_truncation_keeps_its_bound(order):
    h = decaying()
    found = to_recurrence(h, order, "balanced")
    off = found.kernel(4000)
    off[: len(h)] -= h
    response = torch.fft.rfft(off[:, 0], 16384).abs()
    assert response.max() <= found.bound[0]
    assert response.max() >= found.sigma[0, order] * (1 - 1e-9)


def test_balanced_truncation_is_that_of_the_gramians():
    h, order = decaying(41), 4
    g = h[1:, 0].numpy()
    n = len(g)
    A, B, C = np.eye(n, k=-1), np.eye(n)[:, :1], g[None]
    reach, seen = (scipy.linalg.solve_discrete_lyapunov(*pair) for pair in ((A, B @ B.T), (A.T, C.T @ C)))
    left, right = (np.real(scipy.linalg.sqrtm(m)) for m in (seen, reach))
    u, s, v = np.linalg.svd(left @ right)
    T, back = right @ v[:order].T / np.sqrt(s[:order]), (u[:, :order] / np.sqrt(s[:order])).T @ left
    a, b, c = back @ A @ T, back @ B, C @ T
    want = [(c @ np.linalg.matrix_power(a, t) @ b).item() for t in range(60)]
    np.testing.assert_allclose(to_recurrence(h, order, "balanced").kernel(61)[1:, 0], want, atol=1e-6)


def test_the_modal_fit_is_never_worse_than_the_closed_forms_it_begins_at():
    h = decaying()
    for order in (2, 4, 8, 16):
        error = {method: float(to_recurrence(h, order, method).error[0]) for method in METHODS}
        assert error["modal"] <= min(error["hankel"], error["balanced"]) + 1e-12
    assert error["modal"] < 0.9 * error["hankel"]


@pytest.mark.parametrize("method", METHODS)
def test_poles_are_inside_even_if_the_filter_grows(method):
    found = to_recurrence(made_of([1.02 * np.exp(0.3j)], [1.0], length=60), 4, method)
    assert (found.poles.abs() < 1).all()
    Modal(found.poles, found.residues, found.direct)


@pytest.mark.parametrize("heads", [None, 2])
def test_a_distilled_model_streams_and_is_bounded(heads):
    torch.manual_seed(0)
    model = column("(Y F)*2", 4, Y=lambda: Hyena(4, heads=heads, length=20), F=lambda: MLP(4))
    fast = distill(model, 6, method="hankel")
    assert fast.bounded and not model.bounded
    check_streaming(fast, torch.randn(2, 33, 4))


def test_with_the_order_of_its_filter_a_distilled_model_gives_the_same():
    torch.manual_seed(0)
    model, x = Hyena(4, heads=2, length=24).double(), torch.randn(1, 24, 4).double()
    fast = distill(model, 11, method="hankel")
    error = fast.conv.get_buffer("error_M").max()
    off = (fast(x)[0] - model(x)[0]).norm() / model(x)[0].norm()
    assert off < 3 * error < 0.6
    assert torch.equal(model(x)[0], model(x)[0]) and not any(isinstance(m, Modal) for m in model.modules())


def test_wrong_input_is_refused():
    h = decaying(20)
    with pytest.raises(ValueError, match=r"20 taps do not tell order=10; give 21 or more"):
        to_recurrence(h, 10)
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"above tolerance=0\.1; the next Hankel .* 8: .*, 16: .*, 50: "):
        to_recurrence(noise, 8, tolerance=0.1)
    with pytest.raises(ValueError, match="modal, balanced, hankel, prony, got 'pade'"):
        to_recurrence(h, 2, "pade")
    with pytest.raises(ValueError, match="NaN"):
        to_recurrence(h * torch.nan, 2)
    with pytest.raises(ValueError, match="MLP has no Hyena"):
        distill(MLP(4), 2)
