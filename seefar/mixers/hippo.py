"""Where a state space begins: matrices that keep a whole past as a few numbers, brought to diagonal form.

S states, H = S / 2 of them kept: the others are their complex conjugates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Modes(NamedTuple):
    """A state space x' = A x + B u with A = diag(lambda) - P P^*, one of each conjugate pair; complex128."""

    eigenvalue_H: Tensor
    P_H: Tensor
    B_H: Tensor


def legs_matrix(states: int) -> tuple[Tensor, Tensor]:
    """A (S, S) and B (S,) whose state holds the Legendre coefficients of all of the past, float64.

    A_nk = -sqrt((2n + 1)(2k + 1)) for n > k, -(n + 1) for n = k, 0 above;    B_n = sqrt(2n + 1)

    Reference: Gu et al., HiPPO, arXiv 2008.07669.
    """
    root = torch.sqrt(2 * torch.arange(states, dtype=torch.float64) + 1)
    return -torch.tril(torch.outer(root, root), -1) - torch.diag(torch.arange(1.0, states + 1).double()), root


def normal_form(A: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (H,) with positive imaginary part and their orthonormal vectors (S, H) of A + P P^T.

    Raises:
        ValueError: A + P P^T is not a multiple of one plus a skew matrix, so no unitary basis makes it diagonal; or it
            has an odd number of states, which cannot all come in pairs.
    """
    states = _even(len(A))
    normal = A + torch.outer(P, P)
    shift = normal.diagonal().mean()
    skew = normal - shift * torch.eye(states, dtype=A.dtype)
    if not torch.allclose(skew, -skew.T, atol=1e-9 * float(skew.abs().max())):
        raise ValueError("normal_form: A + P P^T must be a multiple of one plus a skew-symmetric matrix")
    frequency, vectors = torch.linalg.eigh(-1j * skew.to(torch.complex128))
    half = states // 2
    return torch.complex(shift.expand(half), frequency[half:]), vectors[:, half:]


def legs(states: int) -> Modes:
    """HiPPO-LegS as a diagonal less one rank: P_n = sqrt(n + 1/2), every eigenvalue has real part -1/2.

    Reference: Gu et al., S4, arXiv 2111.00396.
    """
    A, B = legs_matrix(_even(states))
    P = torch.sqrt(torch.arange(states, dtype=torch.float64) + 0.5)
    eigenvalue, basis = normal_form(A, P)
    return Modes(eigenvalue, basis.mH @ P.to(basis.dtype), basis.mH @ B.to(basis.dtype))


def linear(states: int) -> Modes:
    """Evenly spaced frequencies, lambda_n = -1/2 + i pi n, P = 0, B = 1.

    Reference: Gu et al., S4D-Lin, arXiv 2206.11893.
    """
    half = _even(states) // 2
    frequency = math.pi * torch.arange(half, dtype=torch.float64)
    one = torch.ones(half, dtype=torch.complex128)
    return Modes(torch.complex(torch.full_like(frequency, -0.5), frequency), 0 * one, one)


def scattered(states: int) -> Modes:
    """No structure: frequencies exp(N(0, 1)), P complex normal, real part -1/2, B = 1; the ablation of S4's authors."""
    half = _even(states) // 2
    frequency = torch.randn(half, dtype=torch.float64).exp()
    one = torch.ones(half, dtype=torch.complex128)
    return Modes(torch.complex(torch.full_like(frequency, -0.5), frequency), torch.randn_like(one), one)


def _even(states: int) -> int:
    if states < 2 or states % 2:
        raise ValueError(f"states come in conjugate pairs: give an even number, got {states}")
    return states
