"""Damped waves as a filter: a few complex numbers a signal remember what a long filter needs of the past.

B batch, N tokens, M heads, S signals of a head, P poles of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision
from seefar.ops.long_conv import long_conv

LEAST = 1e-8
"""The smallest radius of a pole; anything less forgets within one token."""


class ModalState(NamedTuple):
    """P complex numbers of each signal, real and imaginary part last."""

    x_BMSP2: Tensor


class Modal(Mixer):
    """Filters the signals of each head by a sum of damped waves, in a state that does not grow.

    x_{t+1} = lambda x_t + u_t,    y_t = h_0 u_t + Re sum_p R_p x_tp:    a filter with h_t = Re sum_p R_p lambda_p^{t-1}

    It mixes (B, N, M, S), as ``ImplicitConv`` does and can take its place; a token costs some 8 P operations. Many
    tokens at once are one convolution with its taps. lambda = exp(-exp(log_decay) + i angle) stays inside of the unit
    circle whatever is learnt.

    Args:
        poles: (M, P) complex lambda, of radius below one.
        residues: (M, P) complex R.
        direct: (M,) h_0.

    Raises:
        ValueError: shapes that differ, or a pole on or outside of the unit circle.

    Reference: Massaroli et al., Laughing Hyena Distillery, arXiv 2310.18780.
    """

    causal, bounded = True, True

    def __init__(self, poles: Tensor, residues: Tensor, direct: Tensor) -> None:
        super().__init__()
        if poles.shape != residues.shape or poles.ndim != 2 or direct.shape != poles.shape[:1]:
            raise ValueError(
                f"Modal: poles and residues are (heads, P), direct is (heads,), got {tuple(poles.shape)}, "
                f"{tuple(residues.shape)} and {tuple(direct.shape)}"
            )
        if not (poles.abs() < 1).all():
            raise ValueError(
                f"Modal: a pole of radius {float(poles.abs().max()):.6g} would never forget; all must be below 1"
            )
        radius = poles.abs().clamp(min=LEAST)
        self.log_decay = nn.Parameter((-radius.log()).log())
        self.angle = nn.Parameter(poles.angle())
        self.residue = nn.Parameter(torch.view_as_real(residues.resolve_conj()).clone())
        self.direct = nn.Parameter(direct.clone())
        for parameter in self.parameters():
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def kernel(self, length: int) -> Tensor:
        """(length, M) taps, the one that acts at once first."""
        later = torch.einsum("mpn,mp->nm", self._waves(length - 1), torch.view_as_complex(self.residue)).real
        return torch.cat([self.direct[None], later])

    def forward(self, x: Tensor, state: ModalState | None = None) -> tuple[Tensor, ModalState]:
        """Filter x (B, N, M, S), going on from ``state``."""
        u_BNMS = x.to(full_precision(self))
        B, N, M, S = x.shape
        residue_MP = torch.view_as_complex(self.residue)
        start_BMSP = (
            residue_MP.new_zeros(B, M, S, residue_MP.shape[1])
            if state is None
            else torch.view_as_complex(state.x_BMSP2)
        )
        if N == 1:
            pole_M1P = self._exponent().exp()[:, None]
            y = (residue_MP[:, None] * start_BMSP).real.sum(-1)[:, None] + self.direct[:, None] * u_BNMS
            end_BMSP = pole_M1P * start_BMSP + u_BNMS[:, 0, ..., None]
            return y.to(x.dtype), ModalState(torch.view_as_real(end_BMSP))
        waves_MPN = self._waves(N)
        y = long_conv(u_BNMS, self.kernel(N)[..., None])
        if state is not None:
            y = y + _real_products(residue_MP[:, None] * start_BMSP, waves_MPN).permute(0, 3, 1, 2)
        driven = torch.einsum("bnms,mpnr->bmspr", u_BNMS, torch.view_as_real(waves_MPN.flip(-1)))
        last_M1P = (N * self._exponent()).exp()[:, None]
        return y.to(x.dtype), ModalState(torch.view_as_real(last_M1P * start_BMSP) + driven)

    def _exponent(self) -> Tensor:
        return torch.complex(-self.log_decay.exp(), self.angle)

    def _waves(self, length: int) -> Tensor:
        """(M, P, length) lambda^t."""
        return (self._exponent()[..., None] * torch.arange(length, device=self.angle.device)).exp()


def _real_products(a_BMSP: Tensor, b_MPN: Tensor) -> Tensor:
    """(B, M, S, N) Re sum_p a b, in real numbers."""
    rows = torch.cat([a_BMSP.real, -a_BMSP.imag], -1)
    return rows @ torch.cat([b_MPN.real, b_MPN.imag], 1)
