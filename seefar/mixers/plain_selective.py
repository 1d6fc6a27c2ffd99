"""The selective state space alone: one step size for all channels, no convolution, no gate, eigenvalues of any sign.

B batch, N tokens, D channels, S states.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision
from seefar.ops.selective_scan import selective_scan


class PlainSelectiveState(NamedTuple):
    """The scan's state, of one size after any number of tokens."""

    h_BDS: Tensor


class PlainSelective(Mixer):
    """Every channel is written into S states that fade, or grow, for as long as each token lasts.

    h_t = exp(dt_t A) h_{t-1} + dt_t (W_B u_t) u_t,    y_t = (W_C u_t) . h_t,    dt_t = softplus(p + q . u_t)

    The largest entry of the diagonal A, its spectral abscissa s_A, decides how states behave over many tokens: they
    forget below 0, add up at 0 and explode above. Mamba cannot leave the first case, for it learns log(-A).

    Args:
        states: S.
        abscissa: s_A at first; other states fade faster, by 0 to 1 in even steps.
        step: dt of a token of zeros at first.

    Raises:
        ValueError: no state, or a step that isn't positive.

    Reference: Honarpisheh et al., arXiv 2502.01473. Differs: A is diagonal, where the paper's is any matrix.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, *, states: int = 4, abscissa: float = -0.5, step: float = 0.1) -> None:
        super().__init__()
        if states < 1 or step <= 0:
            raise ValueError(f"PlainSelective: needs a state and a positive step, got {states=}, {step=}")
        self.A = nn.Parameter(abscissa - torch.linspace(0, 1, states))
        self.p = nn.Parameter(torch.tensor(math.log(math.expm1(step))))
        self.q = nn.Parameter(torch.zeros(dim))
        self.B = nn.Parameter(torch.randn(states, dim) / dim**0.5)
        self.C = nn.Parameter(torch.randn(states, dim) / dim**0.5)
        self.A._no_weight_decay = True  # type: ignore[attr-defined]

    @property
    def abscissa(self) -> float:
        """s_A, the largest eigenvalue of A."""
        return float(self.A.detach().max())

    def steps(self, x: Tensor) -> Tensor:
        """(B, N) dt of each token of x (B, N, D)."""
        return F.softplus(self.p + x @ self.q)

    def forward(self, x: Tensor, state: PlainSelectiveState | None = None) -> tuple[Tensor, PlainSelectiveState]:
        """Mix x (B, N, D), going on from ``state``."""
        exact = x.to(full_precision(self))
        dt_BND = self.steps(exact)[..., None].expand_as(exact).contiguous()
        A_DS = self.A.expand(x.shape[-1], -1).contiguous()
        h0 = None if state is None else state.h_BDS
        y, h_BDS = selective_scan(exact, dt_BND, A_DS, exact @ self.B.mT, exact @ self.C.mT, h0=h0)
        return y.to(x.dtype), PlainSelectiveState(h_BDS)
