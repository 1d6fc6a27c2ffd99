"""Oracles: SciPy's matrix exponential and shifted Legendre polynomials, the dense matrix put together again."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.special import eval_sh_legendre

from seefar.mixers.hippo import legs, legs_matrix, linear, normal_form, scattered


def test_the_matrix_is_the_published_one():
    A, B = legs_matrix(7)
    for n in range(7):
        assert B[n] == math.sqrt(2 * n + 1)
        for k in range(7):
            want = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1) if n == k else 0
            assert A[n, k] == pytest.approx(want, abs=1e-14)


def test_its_state_weighs_the_past_by_legendre_polynomials():
    A, B = (part.numpy() for part in legs_matrix(8))
    for ago in (0.0, 0.1, 0.7, 3.0):
        past = math.exp(-ago)
        want = np.sqrt(2 * np.arange(8) + 1) * past * eval_sh_legendre(np.arange(8), past)
        np.testing.assert_allclose(expm(ago * A) @ B, want, atol=1e-11)


@pytest.mark.parametrize("states", [2, 8, 64])
def test_with_one_rank_added_it_is_normal_and_its_eigenvalues_have_real_part_minus_a_half(states):
    A, _ = legs_matrix(states)
    P = torch.sqrt(torch.arange(states, dtype=torch.float64) + 0.5)
    M = A + torch.outer(P, P)
    assert (M @ M.T - M.T @ M).norm() < 1e-13 * M.norm() ** 2
    eigenvalues = torch.linalg.eigvals(M)
    torch.testing.assert_close(eigenvalues.real, torch.full((states,), -0.5).double(), rtol=0, atol=1e-10)
    kept = legs(states).eigenvalue_H
    assert (kept.real == kept.real[0]).all() and kept.real[0] == pytest.approx(-0.5, abs=1e-12)
    assert (kept.imag > 0).all()
    torch.testing.assert_close(kept.imag.sort().values, eigenvalues.imag[eigenvalues.imag > 0].sort().values)


@pytest.mark.parametrize("states", [2, 8, 64])
def test_the_modes_put_together_are_the_matrix(states):
    A, B = legs_matrix(states)
    P = torch.sqrt(torch.arange(states, dtype=torch.float64) + 0.5)
    _, half = normal_form(A, P)
    basis = torch.cat([half, half.conj()], 1)
    torch.testing.assert_close(basis.mH @ basis, torch.eye(states, dtype=basis.dtype))
    eigenvalue, P, B_modes = (torch.cat([part, part.conj()]) for part in legs(states))
    dense = basis @ (torch.diag(eigenvalue) - torch.outer(P, P.conj())) @ basis.mH
    assert (dense - A).abs().max() < 1e-10 * A.abs().max()
    torch.testing.assert_close(basis @ B_modes, B.to(basis.dtype))


def test_the_other_starts_are_as_described():
    lines = linear(6)
    torch.testing.assert_close(lines.eigenvalue_H.imag, math.pi * torch.arange(3).double())
    assert (lines.P_H == 0).all() and (lines.B_H == 1).all()
    torch.manual_seed(0)
    one = scattered(2000)
    assert one.eigenvalue_H.imag.log().std() == pytest.approx(1, abs=0.1)
    assert one.P_H.abs().square().mean() == pytest.approx(1, abs=0.1)
    assert not torch.equal(one.eigenvalue_H, scattered(2000).eigenvalue_H)
    assert all((made.eigenvalue_H.real == -0.5).all() for made in (lines, one))


@pytest.mark.parametrize("make", [legs, linear, scattered])
@pytest.mark.parametrize("states", [0, 7])
def test_states_that_make_no_pairs_are_refused(make, states):
    with pytest.raises(ValueError, match=f"even number, got {states}"):
        make(states)


def test_a_matrix_that_is_not_normal_with_one_rank_is_refused():
    A, B = legs_matrix(4)
    with pytest.raises(ValueError, match="skew-symmetric"):
        normal_form(A, B)
