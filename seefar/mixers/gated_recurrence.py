"""Gated linear recurrence: an O(N) token mixer whose memory is one number per channel.

B batch, N tokens, D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.linear_scan import linear_scan


class GatedRecurrenceState(NamedTuple):
    """What every channel remembers."""

    h_BD: Tensor


class GatedRecurrence(Mixer):
    """Keep a fraction f of the past, take the rest from the present.

    h_t = f_t * h_{t-1} + (1 - f_t) * v_t,    y_t = W (o_t * h_t),    f_t = floor + (1 - floor) * sigmoid(W_f x_t)

    Args:
        floor: smallest f; raise it in deeper layers so that they remember longer.

    Reference: Qin et al., HGRN, arXiv 2311.04823. Differs: the state is real, not complex; v_t is linear in x_t and the
    output isn't normalised; the floor is given, not learnt.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, *, floor: float = 0.0) -> None:
        super().__init__()
        if not 0 <= floor < 1:
            raise ValueError(f"GatedRecurrence: floor must lie in [0, 1), got {floor}")
        self.floor = floor
        self.proj_in = nn.Linear(dim, 3 * dim)
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, state: GatedRecurrenceState | None = None) -> tuple[Tensor, GatedRecurrenceState]:
        """Mix x (B, N, D), going on from ``state``."""
        # half precision would round an f near one to one: the recurrence and its state are float32 at least
        exact = torch.promote_types(x.dtype, torch.float32)
        v_BND, f_BND, o_BND = self.proj_in(x).to(exact).chunk(3, -1)
        f_BND = self.floor + (1 - self.floor) * f_BND.sigmoid()
        h_BND = linear_scan(f_BND, (1 - f_BND) * v_BND, None if state is None else state.h_BD)
        # a copy: a view would keep all of h_BND in memory
        y_BND = (o_BND.sigmoid() * h_BND).to(x.dtype)
        return self.proj_out(y_BND), GatedRecurrenceState(h_BND[:, -1].clone())
