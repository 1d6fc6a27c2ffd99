"""Which query sees which key, told without ever writing down the N x M mask.

B batch, N queries, M keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rules:
    """Positions count from the end: query i stands at key M - N + i.

    Args:
        N: queries.
        M: keys.
        causal: a query sees no key after its own position.
        window: it sees only keys less than this far away.
        segments: (B, N) and (B, M) int64; only equal ones meet.
        scale: what the dot products are multiplied by.
        lse: the caller wants the log-sum-exp too.
    """

    N: int
    M: int
    causal: bool
    window: int | None
    segments: tuple[Tensor, Tensor] | None
    scale: float
    lse: bool

    @property
    def everything(self) -> bool:
        """Every query sees every key."""
        return not self.causal and self.window is None and self.segments is None

    @property
    def may_be_empty(self) -> bool:
        """Some query may see no key at all."""
        if self.M == 0:
            return True
        apart = self.segments is not None and self.segments[0] is not self.segments[1]
        return apart or (self.N > self.M and (self.causal or self.window is not None))

    def keys_of(self, start: int, stop: int) -> tuple[int, int]:
        """The half-open range of keys that queries start ... stop - 1 may see by place."""
        low, high = start + self.M - self.N, stop + self.M - self.N
        first, last = 0, self.M
        if self.window is not None:
            first, last = max(first, low - self.window + 1), min(last, high + self.window - 1)
        if self.causal:
            last = min(last, high)
        return first, max(first, last)

    def allowed(self, rows: slice, columns: slice, device: torch.device) -> Tensor | None:
        """(B or 1, 1, 1, n, m) bool for one tile of the mask, or None where all of it is allowed."""
        place = self.M - self.N
        nearest, farthest = rows.start + place - (columns.stop - 1), rows.stop - 1 + place - columns.start
        tile = None
        by_cause = self.causal and nearest < 0
        by_window = self.window is not None and (
            farthest >= self.window or (not self.causal and -nearest >= self.window)
        )
        if by_cause or by_window:
            query = torch.arange(rows.start + place, rows.stop + place, device=device)
            distance = query[:, None] - torch.arange(columns.start, columns.stop, device=device)
            tile = torch.ones_like(distance, dtype=torch.bool)
            if self.causal:
                tile &= distance >= 0
            if self.window is not None:
                tile &= distance.abs() < self.window
            tile = tile[None, None, None]
        if self.segments is not None:
            q_segments, k_segments = self.segments
            same = q_segments[:, None, None, rows, None] == k_segments[:, None, None, None, columns]
            tile = same if tile is None else tile & same
        return tile
