"""Which blocks of keys fit a block of queries best, by halving groups of them: few scores instead of all.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head, n and m the height and width of a block,
R blocks of queries, G groups.

| backend | runs | work and memory |
|---|---|---|
| numba | single queries in float32 or float64 on a CPU with numba | G (1 + rounds) blocks scored for each |
| batched | floating dtypes on any device | G (1 + rounds) blocks scored for a block of queries; memory of some strips |
| reference | anything | 2 G rounds blocks, one block of queries at a time |
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.tree_topk import batched, numba, reference

BACKENDS = {"numba": numba, "batched": batched, "reference": reference}


def tree_topk(
    q: Tensor, k: Tensor, spans: Tensor, *, count: int, block: tuple[int, int], backend: str | None = None
) -> Tensor:
    """For each block of queries, the key blocks that a search by halves finds to fit best; at most ``count`` of them.

    The span of a block of queries is cut into G = ``count`` even groups of key blocks. Each round cuts every group into
    two halves, scores a half by its first block, the highest q . k of any query with any key of that block, and keeps
    the G best halves; until groups are single blocks. That is G (1 + log2(S / G)) scored blocks instead of all S, and
    finds the best ones where neighbouring keys score alike; one key that stands out alone is mostly missed.

    Nothing is differentiated. Queries and keys of blocks that are cut off by the end count as often as they are there.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // (H // Hkv).
        spans: (R, 2) int64, the first key block that each block of queries may choose, and the one after the last. The
            search knows no causality: a span must end before the block's first query where that matters.
        count: G.
        block: (n, m).
        backend: one of ``BACKENDS``; by default the first of them that can run this call.

    Returns:
        (B, H, R, G) int64, rising; all of a span of at most G blocks, with -1 after the last.

    Raises:
        ValueError: shapes or sizes that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run this call.

    Example:
        >>> import torch
        >>> k = torch.arange(64.0).view(1, 1, 64, 1)
        >>> tree_topk(torch.ones(1, 1, 1, 1), k, torch.tensor([[0, 32]]), count=3, block=(1, 2)).tolist()
        [[[[29, 30, 31]]]]

    Reference: Lee et al., HiP attention, arXiv 2406.09827. As in the authors' version 1.1, bounds are whole numbers
    and the score of a group is carried over to its first half.
    """
    n, m = block
    if q.ndim != 4 or k.ndim != 4 or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"tree_topk: needs q (B, H, N, d) and k (B, Hkv, M, d), got {tuple(q.shape)}, {tuple(k.shape)}"
        )
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"tree_topk: {q.shape[1]} query heads cannot share {k.shape[1]} key heads evenly")
    if min(n, m, count) < 1:
        raise ValueError(f"tree_topk: count and both sides of a block must be at least 1, got {count=}, {block=}")
    if q.dtype != k.dtype or q.device != k.device or not q.is_floating_point():
        raise ValueError(f"tree_topk: q and k must be floating, alike, and on one device, got {q.dtype} and {k.dtype}")
    rows, columns = -(-q.shape[2] // n), -(-k.shape[2] // m)
    if spans.shape != (rows, 2) or spans.dtype != torch.int64:
        raise ValueError(f"tree_topk: spans must be ({rows}, 2) int64, got {tuple(spans.shape)} {spans.dtype}")
    if rows and not 0 <= int(spans.min()) <= int(spans.max()) <= columns:
        raise ValueError(
            f"tree_topk: {k.shape[2]} keys are {columns} blocks of {m}; got spans from {int(spans.min())} to "
            f"{int(spans.max())}"
        )
    run = choose("tree_topk", BACKENDS, backend, q, k, spans)
    found: Tensor = run(q.detach(), k.detach(), spans.to(q.device), count, block)
    return found


def rounds(blocks: int, count: int) -> int:
    """Halvings until ``count`` groups of so many blocks are single blocks."""
    return max(0, (-(-blocks // count) - 1).bit_length())
