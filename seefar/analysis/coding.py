"""What the state of a linear recurrence knows of its input: its code as a matrix, and the input read back out of it.

B sequences, N tokens, S states, R real numbers of a state (S, or 2 S if they are complex), P dimensions of the inputs.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from seefar.ops.linear_scan import linear_scan


def coding_matrix(
    eigenvalues: Tensor, length: int, *, gain: Tensor | None = None, basis: Tensor | None = None
) -> Tensor:
    """(R, P) float64: the map from an input to the last state of ``h_t = lambda h_{t-1} + gain x_t``.

    V[s, t] = gain_s lambda_s^(N - t),    h_N = V x = V basis alpha,    t = 1 ... N

    The rows of complex states are their real parts, then their imaginary parts. With as many different eigenvalues
    as there are dimensions to tell apart the map is one to one: no input is lost.

    Args:
        eigenvalues: (S,) real or complex, on or inside the unit circle, no two alike.
        length: N.
        gain: (S,) of the input into each state, real or complex; 1 when left out. It scales the rows of V, so it
            changes how sharply an input is seen but not which inputs are.
        basis: (N, P) where inputs are ``basis @ alpha``; any input when left out, and then P is N.

    Raises:
        ValueError: eigenvalues that repeat, or lie outside of the unit circle; a basis that isn't (N, P).

    Reference: Orvieto et al., arXiv 2307.11888. Differs: the paper decodes complex states as complex numbers, which
    asks for S >= P; inputs are real, so here each complex state counts as two numbers and S >= P / 2 is enough.
    """
    if eigenvalues.ndim != 1 or not len(eigenvalues) or length < 1:
        raise ValueError(f"coding_matrix: needs (S,) eigenvalues, a token: {tuple(eigenvalues.shape)}, {length=}")
    if bool((eigenvalues.abs() > 1).any()):
        raise ValueError(
            f"coding_matrix: eigenvalues lie in the unit circle, or the state explodes; got a modulus of "
            f"{float(eigenvalues.abs().max()):.3g}"
        )
    pairs = torch.view_as_real(eigenvalues) if eigenvalues.is_complex() else eigenvalues[:, None]
    if (differ := len(pairs.unique(dim=0))) < len(pairs):
        raise ValueError(
            f"coding_matrix: of {len(pairs)} eigenvalues only {differ} differ; equal ones "
            "hold the same number twice, draw them apart"
        )
    exact = torch.complex128 if eigenvalues.is_complex() or (gain is not None and gain.is_complex()) else torch.float64
    powers_N = torch.arange(length - 1, -1, -1, device=eigenvalues.device)
    code_SN = eigenvalues.to(exact)[:, None] ** powers_N
    if gain is not None:
        code_SN = gain.to(exact)[:, None] * code_SN
    code_RN = torch.cat([code_SN.real, code_SN.imag]) if exact.is_complex else code_SN
    if basis is None:
        return code_RN
    if basis.ndim != 2 or len(basis) != length:
        raise ValueError(f"coding_matrix: a basis is (N, P) with N = {length}, got {tuple(basis.shape)}")
    return code_RN @ basis.double()


def final_state(eigenvalues: Tensor, x: Tensor, *, gain: Tensor | None = None) -> Tensor:
    """(B, R) the last state after inputs x (B, N), by the scan and in the precision of x; parts as in the matrix."""
    number = x.dtype.to_complex() if eigenvalues.is_complex() or (gain is not None and gain.is_complex()) else x.dtype
    driven_BNS = x[..., None].to(number).repeat(1, 1, len(eigenvalues))
    if gain is not None:
        driven_BNS = gain.to(number) * driven_BNS
    end_BS = linear_scan(eigenvalues.to(number).expand_as(driven_BNS).contiguous(), driven_BNS)[:, -1]
    return torch.cat([end_BS.real, end_BS.imag], -1) if number.is_complex else end_BS


def decode(matrix: Tensor, state: Tensor, *, rtol: float | None = None) -> Tensor:
    """(B, P) the smallest input, in least squares, that leaves these last states (B, R): ``alpha = V^+ h``.

    Warns where the state has fewer numbers than the input has dimensions, for then inputs are lost for certain: what
    comes back is their part in the rows of V.

    Args:
        matrix: (R, P) of ``coding_matrix``.
        state: (B, R) of any precision.
        rtol: singular values below this share of the largest count as zero: the relative precision of the states is
            the best choice. By default that of ``torch.linalg.pinv`` in float64.
    """
    if len(matrix) < matrix.shape[1]:
        warnings.warn(
            f"decode: {len(matrix)} numbers of a state cannot hold {matrix.shape[1]} of an input; take more states, "
            "shorter inputs, or a basis of fewer dimensions",
            stacklevel=2,
        )
    return state.double() @ torch.linalg.pinv(matrix, rtol=rtol).mT


def noise_error(matrix: Tensor, sigma: float) -> float:
    """The root mean square that white noise of size ``sigma`` on every number of the state adds to the decoded input.

    sigma |V^+|_F / sqrt(P)
    """
    return sigma * float(torch.linalg.pinv(matrix).norm()) / float(matrix.shape[1]) ** 0.5
