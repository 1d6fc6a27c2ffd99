"""Linear recurrent unit: a complex diagonal recurrence that starts near the unit circle, so that it forgets slowly.

B batch, N tokens, D channels, S states.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import StateSpaceState, full_precision
from seefar.ops.linear_scan import linear_scan


class LRU(Mixer):
    """S damped waves that every channel drives and every channel reads.

    h_t = lambda h_{t-1} + gamma (B x_t),    y_t = Re(C h_t) + D x_t,    lambda = exp(-exp(nu) + i theta)

    ``gamma = sqrt(1 - |lambda|^2)`` at first, so that white noise gives a state of one size whatever the radius. All
    tokens at once are a scan.

    Args:
        states: S; None for D.
        radius: lowest and highest |lambda| to begin with, spread evenly over the area of the ring.
        phase: highest angle of lambda to begin with, in radians; 0 for real eigenvalues, which stay real.

    Raises:
        ValueError: no state, a ring that does not lie in (0, 1), or a phase outside of [0, 2 pi].

    Reference: Orvieto et al., arXiv 2303.06349. Differs: the angle is learnt, not its logarithm, so that it may be 0.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int | None = None,
        radius: tuple[float, float] = (0.9, 0.999),
        phase: float = 2 * math.pi,
    ) -> None:
        super().__init__()
        S = dim if states is None else states
        if S < 1:
            raise ValueError(f"LRU: needs at least one state, got {S}")
        ring_S = ring(S, radius, phase)
        self.nu = nn.Parameter((-ring_S.abs().log()).log().float())
        self.theta = nn.Parameter((ring_S.angle() % (2 * math.pi)).float(), requires_grad=phase > 0)
        self.log_gamma = nn.Parameter(0.5 * torch.log1p(-ring_S.abs().square()).float())
        scale = (1, 2) if phase > 0 else (1, 1)
        self.B = nn.Parameter(torch.randn(S, dim, scale[1]) / math.sqrt(scale[1] * dim))
        self.C = nn.Parameter(torch.randn(dim, S, scale[1]) / math.sqrt(S))
        self.D = nn.Parameter(torch.randn(dim))
        for parameter in (self.nu, self.theta, self.log_gamma, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def eigenvalues(self) -> Tensor:
        """(S,) lambda; real if the phase is 0."""
        size_S = torch.exp(-self.nu.exp())
        return torch.polar(size_S, self.theta) if self.theta.requires_grad else size_S

    def states(self, x: Tensor, state: StateSpaceState | None = None) -> Tensor:
        """(B, N, S) h after each token of x (B, N, D), going on from ``state``."""
        eigenvalue_S = self.eigenvalues()
        B_SD = _number(self.B)
        driven_BNS = self.log_gamma.exp() * (x.to(B_SD.dtype) @ B_SD.mT)
        start = None if state is None else _whole(state.x_BDS[:, 0], driven_BNS.is_complex())
        return linear_scan(eigenvalue_S.expand_as(driven_BNS).contiguous(), driven_BNS, start)

    def forward(self, x: Tensor, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Mix x (B, N, D), going on from ``state``."""
        exact = x.to(full_precision(self))
        h_BNS = self.states(exact, state)
        read = h_BNS @ _number(self.C).mT
        y = (read.real if read.is_complex() else read) + self.D * exact
        # a copy: a view would keep all of h_BNS in memory
        end_BS = h_BNS[:, -1].clone()
        parts = torch.cat([end_BS.real, end_BS.imag], -1) if end_BS.is_complex() else end_BS
        return y.to(x.dtype), StateSpaceState(parts[:, None])


def ring(count: int, radius: tuple[float, float], phase: float) -> Tensor:
    """(count,) complex128, drawn evenly over the area between two circles, at angles from 0 to ``phase``.

    Raises:
        ValueError: the ring does not lie in (0, 1), or a phase outside of [0, 2 pi].
    """
    low, high = radius
    if not 0 < low <= high < 1:
        raise ValueError(f"LRU: radius must be lowest and highest in (0, 1), or it forgets nothing, got {radius}")
    if not 0 <= phase <= 2 * math.pi:
        raise ValueError(f"LRU: phase must lie in [0, 2 pi] radians, got {phase}")
    area, turn = torch.rand(2, count, dtype=torch.float64)
    return torch.polar((low**2 + area * (high**2 - low**2)).sqrt(), phase * turn)


def _number(weight: Tensor) -> Tensor:
    """A weight whose last axis is real and imaginary part, or the real one alone."""
    return torch.view_as_complex(weight) if weight.shape[-1] == 2 else weight[..., 0]


def _whole(state_BS: Tensor, is_complex: bool) -> Tensor:
    return torch.complex(*state_BS.chunk(2, -1)) if is_complex else state_BS
