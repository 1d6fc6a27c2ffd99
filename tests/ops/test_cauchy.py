"""Oracles: SciPy's evaluation of a rational function of partial fractions, autograd through the written-out sum."""

import math

import pytest
import torch
from numpy import polyval
from scipy.signal import invres
from torch.autograd import gradcheck, gradgradcheck

from seefar.evals.protocols import peak_bytes
from seefar.ops.cauchy import BACKENDS, cauchy
from seefar.testing import check_op

FAST = [name for name in BACKENDS if name != "reference"]


def angles(points):
    """From 0 to pi / 2, the point at infinity."""
    return torch.linspace(0, math.pi / 2, points, dtype=torch.float64)


def inputs(D=3, R=4, H=5, seed=0, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(D, R, H, dtype=dtype, generator=generator)
    real, imaginary = (torch.rand(D, H, generator=generator).to(v.real.dtype) for _ in range(2))
    return v, torch.complex(-0.05 - real, 4 * imaginary)


def test_backends_agree_with_the_sum_in_outputs_and_gradients():
    def op(v_real, v_imag, p_real, p_imag, points, backend=None):
        y = cauchy(torch.complex(v_real, v_imag), torch.complex(p_real, p_imag), angles(len(points)), backend=backend)
        return y.real, y.imag

    def given(J):
        v, pole = inputs(seed=J)
        points = torch.zeros(J, dtype=torch.int64)
        return {"v_real": v.real, "v_imag": v.imag, "p_real": pole.real, "p_imag": pole.imag, "points": points}

    takes = {
        name: type("Backend", (), {"cannot_run": lambda *t, b=b: b.cannot_run(torch.complex(t[0], t[1]))})
        for name, b in BACKENDS.items()
    }
    check_op(op, takes, given, lengths=(1, 2, 63, 64, 300))


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_a_rational_function_of_scipy(backend):
    v, pole = inputs(1, 1, 3)
    angle = angles(40)[:-1]
    z = (2j * angle.tan()).numpy()
    over, under = invres(*(torch.cat([part, part.conj()]).numpy() for part in (v[0, 0], pole[0])), [])
    want = torch.from_numpy(polyval(over, z) / polyval(under, z))
    got = cauchy(v, pole, angle, backend=backend)[0, 0] * angle.cos()
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_point_at_infinity_is_finite(backend):
    v, pole = inputs()
    got = cauchy(v, pole, torch.tensor([math.pi / 2], dtype=torch.float64), backend=backend)
    torch.testing.assert_close(got[..., 0], -1j * v.real.sum(-1).to(v.dtype))


@pytest.mark.parametrize("backend", FAST)
def test_gradients_match_finite_differences(backend):
    v, pole = (value.requires_grad_() for value in inputs(2, 2, 3))
    assert gradcheck(lambda v, pole: cauchy(v, pole, angles(7), backend=backend), (v, pole))


def test_blocked_is_twice_differentiable():
    v, pole = (value.requires_grad_() for value in inputs(1, 2, 2))
    assert gradgradcheck(lambda v, pole: cauchy(v, pole, angles(5), backend="blocked"), (v, pole))


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_keeps_five_digits_near_the_poles(backend):
    v, pole = (value.to(torch.complex64) for value in inputs(4, 3, 32))  # 80 times as far from zero as from the axis
    want = cauchy(v.to(torch.complex128), pole.to(torch.complex128), angles(2000))
    got = cauchy(v, pole, angles(2000), backend=backend)
    assert (got - want).norm() / want.norm() < 1e-5


@pytest.mark.parametrize("backend", FAST)
def test_memory_is_that_of_inputs_and_outputs(backend):
    v, pole = (value.requires_grad_() for value in inputs(2, 2, 128))

    def both():
        cauchy(v, pole, angles(8192), backend=backend).abs().sum().backward()

    both()
    everything = 2 * 8192 * 128 * 16
    assert peak_bytes(both) < everything / 4


def test_more_threads_give_the_same():
    v, pole = inputs(8, 4, 64)
    before, one = torch.get_num_threads(), cauchy(v, pole, angles(600))
    try:
        torch.set_num_threads(2)
        assert torch.equal(cauchy(v, pole, angles(600)), one)
    finally:
        torch.set_num_threads(before)


def test_misfits_are_refused_with_what_to_do():
    v, pole = inputs()
    with pytest.raises(ValueError, match=r"one of each conjugate pair.*\(3, 10\)"):
        cauchy(v, torch.cat([pole, pole.conj()], 1), angles(3))
    with pytest.raises(ValueError, match="one complex type"):
        cauchy(v.real, pole.real, angles(3))
    with pytest.raises(ValueError, match="one complex type"):
        cauchy(v, pole.to(torch.complex64), angles(3))
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*blocked"):
        cauchy(v, pole, angles(3), backend="cuda")
