"""Softmax attention of a few queries to picked blocks of a long cache, of which nothing else is read.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head, K picked blocks of m keys.

| backend | runs | memory |
|---|---|---|
| numba | one query without gradients, float32 or float64 on a CPU, where numba is installed | O(K m) scores |
| gathered | floating dtypes on any device | O(K m d), the picked keys and values |
| reference | anything | O(N M) |
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.picked_attention import gathered, numba, reference

BACKENDS = {"numba": numba, "gathered": gathered, "reference": reference}


def picked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: Tensor,
    *,
    width: int = 1,
    causal: bool = True,
    scale: float | None = None,
    backend: str | None = None,
) -> Tensor:
    """Each query's mean of the values of picked keys, weighted by how well they fit; the same keys for all N queries.

    o_i = sum_j softmax_j(scale q_i . k_j) v_j over the keys j of the blocks that are picked for its head. Query i is at
    key M - N + i. A query that sees no key gives zeros. ``block_attention`` is for many queries, each block of which
    has blocks of its own.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // (H // Hkv).
        v: (B, Hkv, M, dv) values.
        blocks: (B, H, K) int64, no block twice, -1 where there is none; block b holds keys b m ... b m + m - 1.
        width: m.
        causal: no query sees a key after its place.
        scale: 1 / sqrt(d) when left out.
        backend: one of ``BACKENDS``; by default the first of them that can run this call.

    Returns:
        (B, H, N, dv).

    Raises:
        ValueError: shapes that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run this call.

    Example:
        >>> import torch
        >>> q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 6, 2)
        >>> v = torch.arange(6.0).view(1, 1, 6, 1)
        >>> picked_attention(q, k, v, torch.tensor([[[0, 2]]]), width=2).item()  # of 0, 1, 4, 5
        2.5
    """
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == 4 or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(f"picked_attention: needs q (B, H, N, d), k (B, Hkv, M, d), v (B, Hkv, M, dv), got {shapes}")
    if k.shape[:3] != v.shape[:3] or k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"picked_attention: keys and values must be alike and their heads divide those of q, {shapes}")
    if blocks.ndim != 3 or blocks.shape[:2] != q.shape[:2] or blocks.dtype != torch.int64:
        raise ValueError(f"picked_attention: blocks must be (B, H, K) int64, got {tuple(blocks.shape)} {blocks.dtype}")
    columns = -(-k.shape[2] // width) if width > 0 else 0
    if blocks.numel() and not -1 <= int(blocks.min()) <= int(blocks.max()) < columns:
        raise ValueError(
            f"picked_attention: {k.shape[2]} keys are {columns} blocks of {width=}, -1 stands for none; got blocks "
            f"from {int(blocks.min())} to {int(blocks.max())}"
        )
    run = choose("picked_attention", BACKENDS, backend, q, k, v)
    o: Tensor = run(q, k, v, blocks, width, causal, q.shape[-1] ** -0.5 if scale is None else scale)
    return o
