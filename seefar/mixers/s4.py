"""S4 and S4D: a linear system in each channel that remembers very long, then one gated layer that mixes the channels.

B batch, N tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.diagonal import Diagonal
from seefar.mixers.dplr import DPLR, StateSpaceState
from seefar.mixers.hippo import Modes, legs, linear


class S4(Mixer):
    """Filter each channel by a state space that starts as a memory of all of the past, then mix the channels.

    y = glu(W gelu(DPLR(x)))

    Args:
        states: of each channel, even.
        dt: lowest and highest step, drawn evenly in log; 1 / dt tokens is about how far a channel looks back.
        init: what the system starts as, see ``DPLR``.

    ``mixer.ssm.rate`` fits it to an input sampled more or less finely than in training.

    Reference: Gu et al., arXiv 2111.00396. Differs: see ``DPLR``; no dropout.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int = 64,
        dt: tuple[float, float] = (1e-3, 1e-1),
        init: Callable[[int], Modes] = legs,
    ) -> None:
        super().__init__()
        self.ssm = DPLR(dim, states=states, dt=dt, init=init)
        self.out_proj = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Mix x (B, N, D), going on from ``state``."""
        y, end = self.ssm(x, state)
        return F.glu(self.out_proj(F.gelu(y)), -1), end


class S4D(Mixer):
    """As ``S4``, with a diagonal state space: damped waves instead of a memory of the whole past, and less to compute.

    y = glu(W gelu(Diagonal(x)))

    Args:
        states: of each channel, even.
        dt: lowest and highest step, drawn evenly in log.
        init: what the system starts as, see ``Diagonal``.

    Reference: Gu et al., arXiv 2206.11893. Differs: no dropout.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int = 64,
        dt: tuple[float, float] = (1e-3, 1e-1),
        init: Callable[[int], Modes] = linear,
    ) -> None:
        super().__init__()
        self.ssm = Diagonal(dim, states=states, dt=dt, init=init)
        self.out_proj = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Mix x (B, N, D), going on from ``state``."""
        y, end = self.ssm(x, state)
        return F.glu(self.out_proj(F.gelu(y)), -1), end
