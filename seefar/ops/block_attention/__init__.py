"""Softmax attention over some blocks of the pairs alone: work and memory go by what is kept.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head.

| backend | runs | work and memory |
|---|---|---|
| gathered | floating dtypes on any device | those of the kept blocks; memory O(N + M), forward and backward |
| reference | anything | O(N M) |
"""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.attention.check import check_heads
from seefar.ops.block_attention import gathered, reference
from seefar.ops.block_attention.mask import BlockMask as BlockMask

BACKENDS = {"gathered": gathered, "reference": reference}


@overload
def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: BlockMask,
    *,
    scale: float | None = ...,
    return_lse: Literal[False] = ...,
    backend: str | None = ...,
) -> Tensor: ...
@overload
def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: BlockMask,
    *,
    scale: float | None = ...,
    return_lse: Literal[True],
    backend: str | None = ...,
) -> tuple[Tensor, Tensor]: ...


def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: BlockMask,
    *,
    scale: float | None = None,
    return_lse: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Each query's mean of the values whose keys it meets under a block mask, weighted by how well they fit.

    o_i = sum_j softmax_j(scale q_i . k_j) v_j over the keys j that ``mask`` lets query i meet; exact. A query that
    meets no key gives zeros, a log-sum-exp of -inf and no gradient.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // (H // Hkv).
        v: (B, Hkv, M, dv) values.
        mask: of N queries and M keys, for all heads or for each; it also says whether attention is causal.
        scale: 1 / sqrt(d) when left out.
        return_lse: also return log sum_j exp(scale q_i . k_j), (B, H, N), with which partial results can be joined.
        backend: one of ``BACKENDS``; by default the first of them that can run this call.

    Returns:
        (B, H, N, dv), and the log-sum-exp (B, H, N) where it was asked for.

    Raises:
        ValueError: shapes or dtypes that do not fit each other or the mask, or an unknown backend.
        RuntimeError: the named backend cannot run this call.

    Example:
        >>> import torch
        >>> q, k, v = torch.randn(3, 1, 2, 100, 8)
        >>> mask = BlockMask.local(100, window=10, block=16)
        >>> block_attention(q, k, v, mask).shape, mask.pairs
        (torch.Size([1, 2, 100, 8]), 955)

    Reference: Child et al., Sparse Transformer, arXiv 1904.10509; Dao et al., FlashAttention, arXiv 2205.14135.
    """
    _check(q, k, v, mask)
    run = choose("block_attention", BACKENDS, backend, q, k, v, mask)
    o, lse = run(q, k, v, mask, q.shape[-1] ** -0.5 if scale is None else scale)
    return (o, lse) if return_lse else o


def _check(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> None:
    check_heads("block_attention", q, k, v)
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not isinstance(mask, BlockMask):
        raise ValueError(f"block_attention: mask must be a BlockMask, got {type(mask).__name__}; see BlockMask.local")
    if (q.shape[2], k.shape[2]) != (mask.N, mask.M):
        raise ValueError(f"block_attention: the mask is of {mask.N} queries and {mask.M} keys, got {shapes}")
    if mask.kept.shape[0] not in (1, q.shape[0]) or mask.kept.shape[1] not in (1, q.shape[1]):
        raise ValueError(
            f"block_attention: the mask lists {tuple(mask.kept.shape[:2])} batches and heads, got {shapes}"
        )
