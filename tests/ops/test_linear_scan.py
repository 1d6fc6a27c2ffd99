"""Oracles: SciPy's lfilter for constant gains, autograd through the written-out loop for everything else."""

import pytest
import torch
from scipy.signal import lfilter
from torch.autograd import gradcheck, gradgradcheck

from seefar.ops.linear_scan import BACKENDS, linear_scan
from seefar.testing import check_op

FAST = [name for name in BACKENDS if name != "reference"]


def inputs(N, *rest):
    generator = torch.Generator().manual_seed(N)
    a, b = (torch.randn(2, N, *rest, generator=generator, dtype=torch.float64) for _ in range(2))
    return {"a": a.tanh(), "b": b, "h0": torch.randn(2, *rest, generator=generator, dtype=torch.float64)}


@pytest.mark.parametrize("rest", [(7,), (3, 90), ()])
def test_backends_agree_with_the_loop_in_states_and_gradients(rest):
    check_op(linear_scan, BACKENDS, lambda N: inputs(N, *rest), lengths=(1, 2, 63, 64, 100, 131))


def test_a_start_of_zero_may_be_left_out():
    check_op(linear_scan, BACKENDS, lambda N: {k: v for k, v in inputs(N, 5).items() if k != "h0"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_constant_gains_are_a_recursive_filter(backend):
    b = torch.randn(3, 500, 2, dtype=torch.float64)
    want = lfilter([1.0], [1.0, -0.97], b.numpy(), axis=1)
    got = linear_scan(torch.full_like(b, 0.97), b, backend=backend)
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_with_the_state_carried_over_equal_the_whole(backend):
    given = inputs(101, 6)
    whole = linear_scan(**given, backend=backend)
    for size in (1, 7, 64, 100):
        state, pieces = given["h0"], []
        for a, b in zip(given["a"].split(size, 1), given["b"].split(size, 1), strict=True):
            pieces.append(linear_scan(a, b, state, backend=backend))
            state = pieces[-1][:, -1]
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gains_of_zero_forget_everything_and_gains_of_one_sum(backend):
    b = torch.randn(1, 77, 4, dtype=torch.float64)
    torch.testing.assert_close(linear_scan(torch.zeros_like(b), b, torch.ones(1, 4).double(), backend=backend), b)
    torch.testing.assert_close(linear_scan(torch.ones_like(b), b, backend=backend), b.cumsum(1))


@pytest.mark.parametrize("backend", FAST)
def test_strided_inputs_give_the_same_as_packed_ones(backend):
    wide = torch.randn(2, 5, 66, dtype=torch.float64).tanh().requires_grad_()
    a, b = wide.mT[..., :3], wide.mT[..., 2:]  # both strided, and sharing a channel
    got = torch.autograd.grad(linear_scan(a, b, backend=backend).square().sum(), wide)
    want = torch.autograd.grad(linear_scan(a.contiguous(), b.contiguous(), backend="reference").square().sum(), wide)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_match_finite_differences(backend):
    given = [value[:1, ..., :2].requires_grad_() for value in inputs(9, 3).values()]
    assert gradcheck(lambda *x: linear_scan(*x, backend=backend), given)


def test_blocked_is_twice_differentiable_and_takes_complex_gains():
    a, b, h0 = (torch.randn(s, dtype=torch.complex128).requires_grad_() for s in [(1, 10, 2), (1, 10, 2), (1, 2)])
    torch.testing.assert_close(linear_scan(a, b, h0, backend="blocked"), linear_scan(a, b, h0, backend="reference"))
    assert gradcheck(lambda *x: linear_scan(*x, backend="blocked"), (a, b, h0))
    assert gradgradcheck(lambda *x: linear_scan(*x, backend="blocked"), (a, b, h0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_over_many_tokens_keeps_six_digits(backend):
    generator = torch.Generator().manual_seed(0)
    a = 1 - torch.rand(1, 3000, 8, generator=generator) * 0.01
    b = torch.randn(1, 3000, 8, generator=generator)
    want = linear_scan(a.double(), b.double(), backend="reference")
    assert (linear_scan(a, b, backend=backend) - want).norm() / want.norm() < 2e-6


def test_a_long_silence_fades_to_zero_without_numbers_below_the_normal_range():
    a, b = torch.full((1, 40_000, 4), 0.99), torch.zeros(1, 40_000, 4)
    h = linear_scan(a, b, torch.ones(1, 4), backend="numba")
    assert (h[0, -1] == 0).all()
    torch.testing.assert_close(h[0, 3000], torch.full((4,), 0.99**3001), rtol=1e-3, atol=0)


def test_no_tokens_give_no_states():
    none = torch.ones(2, 0, 3)
    assert linear_scan(none, none).shape == linear_scan(none, none, torch.ones(2, 3)).shape == (2, 0, 3)
    with pytest.raises(ValueError, match=r"h0 must be \(2, 3\).*got \(0, 3\)"):
        linear_scan(none, none, torch.ones(0, 3))


def test_misfits_are_refused_with_what_to_do():
    x = torch.ones(2, 4, 3)
    with pytest.raises(ValueError, match=r"a \(2, 4, 3\) and b \(2, 4, 2\)"):
        linear_scan(x, torch.ones(2, 4, 2))
    with pytest.raises(ValueError, match=r"h0 must be \(2, 3\).*got \(3,\)"):
        linear_scan(x, x, torch.ones(3))
    with pytest.raises(ValueError, match=r"call b.to\(a\)"):
        linear_scan(x, x.double())
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*blocked"):
        linear_scan(x, x, backend="cuda")
    with pytest.raises(RuntimeError, match=r"needs float32 or float64, got torch.bfloat16"):
        linear_scan(x.bfloat16(), x.bfloat16(), backend="numba")
