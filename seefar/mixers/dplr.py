"""DPLR: a state space whose matrix is a diagonal less one rank; the heart of S4.

B batch, N tokens, D channels, S states of a channel, H = S / 2 conjugate pairs, T tokens of a block, K blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.hippo import Modes, legs
from seefar.ops.cauchy import cauchy
from seefar.ops.long_conv import long_conv

BLOCK = 64
"""Most tokens of a block: the response of a state is kept for one block and one state for each of them."""


class StateSpaceState(NamedTuple):
    """The states of every channel: real parts of the conjugate pairs, then imaginary parts."""

    x_BDS: Tensor


class DPLR(Mixer):
    """Each channel is filtered by a linear system whose S states can hold its whole past.

    x' = A x + B u,    y = C x + D u,    A = diag(lambda) - P P^*,    lambda = -exp(log_A_real) + i A_imag

    in steps of dt by the bilinear rule. All tokens at once: a convolution with the kernel C Ab^t Bb, made in
    O(S N) by evaluating its generating function at the N-th roots of one, where it is four Cauchy sums. One token: one
    step in O(S), by Woodbury's identity. A chunk that goes on from a state adds what the state alone would have given.

    Real parts stay negative and P P^* is tied, so the system is stable whatever training does. Weights that are the
    system's own are not decayed by ``training.fit``.

    Args:
        states: S, even.
        dt: lowest and highest step; each channel draws its own, evenly in log.
        init: states -> ``hippo.Modes`` to begin with: ``hippo.legs``, ``hippo.linear``, ``hippo.scattered``.
        rate: step of the input over that of training; set ``mixer.rate = 0.5`` when it is sampled twice as finely.

    Reference: Gu et al., arXiv 2111.00396. Differs: C is the parameter and C (I - Ab^N) is made from it at each call,
    in O(S^3 log N), so one mixer serves any length; the authors learn the product, for one length. P and its conjugate
    are tied (as in arXiv 2202.09729). To read in both directions, put two of them into ``Scan``.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int = 64,
        dt: tuple[float, float] = (1e-3, 1e-1),
        init: Callable[[int], Modes] = legs,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate = rate
        self.log_dt = nn.Parameter(log_steps(dim, dt))
        eigenvalue_H, P_H, B_H = init(states)
        H = len(eigenvalue_H)
        self.log_A_real = nn.Parameter((-eigenvalue_H.real).log().float().repeat(dim, 1))
        self.A_imag = nn.Parameter(eigenvalue_H.imag.float().repeat(dim, 1))
        self.P = nn.Parameter(torch.view_as_real(P_H).float().repeat(dim, 1, 1))
        self.B = nn.Parameter(torch.view_as_real(B_H).float().repeat(dim, 1, 1))
        self.C = nn.Parameter(torch.view_as_real(torch.randn(dim, H, dtype=torch.complex64)))
        self.D = nn.Parameter(torch.randn(dim))
        for parameter in (self.log_dt, self.log_A_real, self.A_imag, self.P, self.B, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Filter x (B, N, D), going on from ``state``."""
        dtype = full_precision(self)
        u_BND = x.to(dtype)
        N, start = x.shape[1], None if state is None else state.x_BDS
        if N == 1:
            empty = u_BND.new_zeros(len(x), x.shape[2], 2 * self.A_imag.shape[1])
            end_BDS = self._step(empty if start is None else start, u_BND[:, 0])
            y_BND = torch.einsum("ds,bds->bd", self.readout(), end_BDS)[:, None]
        else:
            A_DSS, B_DS = self.discrete()
            squared = squares(A_DSS, N)
            y_BND = long_conv(u_BND, dplr_kernel(*self._transfer(N, squared), N).mT)
            end_BDS = _driven(squared, B_DS, u_BND)
            if start is not None:
                y_BND = y_BND + _free(squared, self.readout(), start, N)
                end_BDS = end_BDS + _advance(squared, start, N)
        return (y_BND + self.D * u_BND).to(x.dtype), StateSpaceState(end_BDS)

    def kernel(self, length: int) -> Tensor:
        """(D, length) what each channel answers to a single one, without D u."""
        return dplr_kernel(*self.transfer(length), length)

    def transfer(self, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Eigenvalues, P, B, C (I - Ab^length) and dt, of which ``dplr_kernel`` makes the kernel of that length."""
        full_precision(self)
        return self._transfer(length, squares(self.discrete()[0], length))

    def discrete(self) -> tuple[Tensor, Tensor]:
        """Ab (D, S, S) and Bb (D, S) of a step, on real and imaginary parts."""
        D, S = len(self.log_dt), 2 * self.A_imag.shape[1]
        basis = torch.eye(S, dtype=self.D.dtype, device=self.D.device)[:, None].expand(S, D, S)
        A_DSS = self._step(basis, basis.new_zeros(S, D)).permute(1, 2, 0)
        return A_DSS, self._step(basis.new_zeros(1, D, S), basis.new_ones(1, D))[0]

    def _step(self, x_BDS: Tensor, u_BD: Tensor) -> Tensor:
        """(2 / dt - A) x_{t+1} = (2 / dt + A) x_t + 2 B u, solved in O(S)."""
        eigenvalue_DH, P_DH, B_DH, dt_D = self._system()
        pace_D1 = 2 / dt_D[:, None]
        x_BDH = torch.complex(*x_BDS.chunk(2, -1))
        inverse_DH = 1 / (pace_D1 - eigenvalue_DH)

        def inner(a_BDH: Tensor) -> Tensor:
            return 2 * (P_DH.conj() * a_BDH).real.sum(-1, keepdim=True)

        right_BDH = (pace_D1 + eigenvalue_DH) * x_BDH - P_DH * inner(x_BDH) + 2 * B_DH * u_BD[..., None]
        first_BDH = inverse_DH * right_BDH
        lifted_DH = inverse_DH * P_DH
        next_BDH = first_BDH - lifted_DH * (inner(first_BDH) / (1 + inner(lifted_DH)))
        return torch.cat([next_BDH.real, next_BDH.imag], -1)

    def _transfer(self, length: int, squared: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        C_DS = self.readout()
        rest_DS = C_DS - _advance([A_DSS.mT for A_DSS in squared], C_DS, length)
        real, imaginary = rest_DS.chunk(2, -1)
        eigenvalue_DH, P_DH, B_DH, dt_D = self._system()
        return eigenvalue_DH, P_DH, B_DH, torch.complex(real, -imaginary) / 2, dt_D

    def _system(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        eigenvalue_DH = torch.complex(-self.log_A_real.exp(), self.A_imag)
        P_DH, B_DH = (torch.view_as_complex(part) for part in (self.P, self.B))
        return eigenvalue_DH, P_DH, B_DH, steps(self.log_dt, self.rate)

    def readout(self) -> Tensor:
        """C (D, S) on real and imaginary parts: C x + conj(C x) = 2 Re C Re x - 2 Im C Im x."""
        return torch.cat([2 * self.C[..., 0], -2 * self.C[..., 1]], -1)


def dplr_kernel(
    eigenvalue_DH: Tensor, P_DH: Tensor, B_DH: Tensor, rest_DH: Tensor, dt_D: Tensor, length: int
) -> Tensor:
    """(D, length) C Ab^t Bb of a diagonal less one rank, in O(S length) time and O(S + length) memory.

    The transform of the kernel at w = exp(-i theta) is, with g = (2 / dt) (1 - w) / (1 + w) and
    k(X, Y) = sum_n X_n Y_n / (g - lambda_n) over all S,

    2 / (1 + w) (k(Ct, B) - k(Ct, P) k(P^*, B) / (1 + k(P^*, P))),    Ct = C (I - Ab^length)

    C itself in the place of Ct would give a kernel that wraps around. Multiplied through by (1 + w) dt, nothing here is
    infinite at w = -1.

    Args:
        eigenvalue_DH: complex (D, H), one of each conjugate pair, real parts negative.
        P_DH: complex (D, H).
        B_DH: complex (D, H).
        rest_DH: Ct, complex (D, H).
        dt_D: steps, positive.
        length: of the kernel.

    Raises:
        ValueError: shapes that do not fit (whole sets of states instead of halves, say), half precision, a step, a
            length or a real part of the wrong sign.
    """
    if length < 1:
        raise ValueError(f"dplr_kernel: length must be at least 1, got {length}")
    shapes = [tuple(part.shape) for part in (eigenvalue_DH, P_DH, B_DH, rest_DH)]
    if len(set(shapes)) > 1 or eigenvalue_DH.ndim != 2 or dt_D.shape != shapes[0][:1]:
        raise ValueError(
            "dplr_kernel: eigenvalues, P, B and Ct are (D, H), one of each conjugate pair, and dt is (D,); "
            f"got {shapes} and {tuple(dt_D.shape)}"
        )
    if eigenvalue_DH.dtype not in (torch.complex64, torch.complex128):
        raise ValueError(f"dplr_kernel: needs complex64 or complex128, got {eigenvalue_DH.dtype}")
    if not (dt_D > 0).all() or not (eigenvalue_DH.real < 0).all():
        raise ValueError("dplr_kernel: steps must be positive and real parts of eigenvalues negative")
    angle_J = torch.arange(length // 2 + 1, dtype=torch.float64) * (math.pi / length)
    rows_DRH = torch.stack([rest_DH * B_DH, rest_DH * P_DH, P_DH.conj() * B_DH, P_DH.conj() * P_DH], 1)
    dt_D1 = dt_D[:, None]
    direct_DJ, out_DJ, into_DJ, around_DJ = cauchy(rows_DRH, dt_D1 * eigenvalue_DH, angle_J).unbind(1)
    weight_DJ = dt_D1 * angle_J.cos().to(dt_D)
    turn_J = torch.polar(torch.ones_like(angle_J), angle_J).to(direct_DJ)
    spectrum_DJ = dt_D1 * turn_J * (direct_DJ - weight_DJ * out_DJ * into_DJ / (1 + weight_DJ * around_DJ))
    return torch.fft.irfft(spectrum_DJ, length)


def squares(A_DSS: Tensor, length: int) -> list[Tensor]:
    """A, A^2, A^4, ... as far as ``length`` steps need them."""
    found = [A_DSS]
    while 1 << len(found) <= length:
        found.append(found[-1] @ found[-1])
    return found


def krylov(squared: Sequence[Tensor], x: Tensor, length: int) -> Tensor:
    """(..., D, S, length) x, A x, A^2 x, ... from the ``squares`` of A: each product makes twice as many."""
    columns = x[..., None]
    for A_DSS in squared[: (length - 1).bit_length()]:
        columns = torch.cat([columns, A_DSS @ columns], -1)
    return columns[..., :length]


def _advance(squared: Sequence[Tensor], x: Tensor, steps: int) -> Tensor:
    """A^steps x of (..., D, S)."""
    for i, A_DSS in enumerate(squared):
        if steps >> i & 1:
            x = torch.einsum("dij,...dj->...di", A_DSS, x)
    return x


def _free(squared: Sequence[Tensor], C_DS: Tensor, x_BDS: Tensor, length: int) -> Tensor:
    """(B, length, D) C Ab^{t+1} x, what a state gives when nothing more comes in; block by block."""
    level = _level(length)
    back = [A_DSS.mT for A_DSS in squared]
    rows_DST = krylov(back, _advance(back, C_DS, 1), 1 << level)
    starts_BDSK = krylov(squared[level:], x_BDS, -(-length >> level))
    y_BKTD = torch.einsum("dst,bdsk->bktd", rows_DST, starts_BDSK)
    return y_BKTD.flatten(1, 2)[:, :length]


def _driven(squared: Sequence[Tensor], B_DS: Tensor, u_BND: Tensor) -> Tensor:
    """(B, D, S) sum_t Ab^{N-1-t} Bb u_t, the state after all of u from zero: of blocks, then of pairs of them."""
    level = _level(u_BND.shape[1])
    T = 1 << level
    taps_DST = krylov(squared, B_DS, T).flip(-1)
    blocks_BKTD = F.pad(u_BND, (0, 0, -u_BND.shape[1] % T, 0)).unflatten(1, (-1, T))
    x_KBDS = torch.einsum("dst,bktd->kbds", taps_DST, blocks_BKTD)
    while len(x_KBDS) > 1:
        x_KBDS = F.pad(x_KBDS, (0, 0, 0, 0, 0, 0, len(x_KBDS) % 2, 0))
        x_KBDS = x_KBDS[1::2] + torch.einsum("dij,kbdj->kbdi", squared[level], x_KBDS[::2])
        level += 1
    return x_KBDS[0]


def _level(length: int) -> int:
    """Logarithm of the tokens in a block: the longest power of two within the sequence and ``BLOCK``."""
    return min(length, BLOCK).bit_length() - 1


def log_steps(dim: int, dt: tuple[float, float]) -> Tensor:
    """(dim,) logarithms of steps drawn evenly in log between the two.

    Raises:
        ValueError: they aren't positive and rising.
    """
    low, high = dt
    if not 0 < low <= high:
        raise ValueError(f"dt: steps must be positive, lowest first, such as (1e-3, 1e-1), got {dt}")
    return torch.empty(dim).uniform_(math.log(low), math.log(high))


def steps(log_dt_D: Tensor, rate: float) -> Tensor:
    """(D,) steps of a mixer at a rate.

    Raises:
        ValueError: the rate isn't positive.
    """
    if rate <= 0:
        raise ValueError(f"rate must be positive (0.5 for an input sampled twice as finely), got {rate}")
    return rate * log_dt_D.exp()


def full_precision(mixer: nn.Module) -> torch.dtype:
    """The type of a mixer's weights.

    Raises:
        ValueError: half precision, in which steps and frequencies are too coarse to make a kernel of.
    """
    for name, parameter in mixer.named_parameters():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{type(mixer).__name__}: {name} is {parameter.dtype}, too coarse for steps and frequencies; keep "
                "these weights in float32 with mixer.float(), the input may be of any type"
            )
    return parameter.dtype
