"""The search as it reads: one block of queries at a time, every half scored anew."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, spans: Tensor, count: int, block: tuple[int, int]) -> Tensor:
    """Groups as pairs of (first block, block after the last), the best halves kept."""
    n, m = block
    B, H, N, _ = q.shape
    found = torch.full((B, H, len(spans), count), -1, device=q.device)
    for b, h, r in ((b, h, r) for b in range(B) for h in range(H) for r in range(len(spans))):
        queries, keys = q[b, h, r * n : min(N, (r + 1) * n)], k[b, h // (H // k.shape[1])]

        def score(half: tuple[int, int], queries: Tensor = queries, keys: Tensor = keys) -> float:
            return float((queries @ keys[half[0] * m : half[0] * m + m].T).max())

        first, stop = spans[r].tolist()
        bounds = [first + j * (stop - first) // count for j in range(count + 1)]
        groups = [(low, high) for low, high in pairwise(bounds) if low < high]
        while any(high - low > 1 for low, high in groups):
            middles = [(low, (low + high + 1) // 2, high) for low, high in groups]
            halves = [half for low, middle, high in middles for half in ((low, middle), (middle, high))]
            groups = sorted((half for half in halves if half[0] < half[1]), key=score, reverse=True)[:count]
        found[b, h, r, : len(groups)] = torch.tensor(sorted(low for low, _ in groups), dtype=torch.int64)
    return found
