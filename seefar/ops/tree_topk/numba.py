"""The search of single queries on the CPU, compiled by numba when first called: twice as fast beside a long cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seefar.ops._cpu import needs_numba, spread


def cannot_run(q: Tensor, k: Tensor | None = None, spans: Tensor | None = None) -> str | None:
    """Needs numba, the CPU, float32 or float64, and one query in a block: for more, matrix products are faster."""
    if spans is not None and len(spans) and -(-q.shape[2] // len(spans)) > 1:
        return f"needs a single query, got {q.shape[2]} in {len(spans)} blocks"
    return needs_numba(q)


def run(q: Tensor, k: Tensor, spans: Tensor, count: int, block: tuple[int, int]) -> Tensor:
    """Each query of each head is a piece; the keys are read where they are."""
    from seefar.ops.tree_topk import _kernels

    (B, H, N, d), Hkv = q.shape, k.shape[1]
    found = torch.full((B * H * N, count), -1)
    queries, out = q.reshape(-1, d).numpy(), found.numpy()
    keys = [head.contiguous().numpy() for row in k for head in row]  # of a longer cache's beginning, nothing is copied
    ends = spans.tolist()
    search: Any = _kernels.search

    def piece(i: int) -> None:
        head, row = divmod(i, N)
        search(queries[i], keys[head // (H // Hkv)], *ends[row], block[1], out[i])

    spread(piece, len(out), work=len(out) * count * 8 * block[1] * d)
    none = torch.iinfo(torch.int64).max
    rising = found.masked_fill_(found < 0, none).sort(-1).values
    return rising.masked_fill_(rising == none, -1).view(B, H, N, count)
