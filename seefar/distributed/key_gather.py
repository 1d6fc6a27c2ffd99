"""Sequence parallelism for softmax attention: every rank gathers the keys and values of all, and keeps its queries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seefar.distributed.ranks import Ranks
from seefar.ops.attention import attention


def gathered_attention(q: Tensor, k: Tensor, v: Tensor, ranks: Ranks, *, causal: bool = True) -> Tensor:
    """``attention`` over a sequence of which every rank holds an equal piece, rank 0 the first.

    One all-gather of keys and values together, and one reduce-scatter of their gradients. A rank sends
    (ranks - 1) B Hkv N (d + dv) numbers each way: they grow with N, and are few where Hkv is.

    All ranks must call this in the same order, and all or none go backward through it.

    Args:
        q: (B, H, N, d) queries of this rank.
        k: (B, Hkv, N, d) keys; N is the same on every rank.
        v: (B, Hkv, N, dv) values.
        ranks: that share the sequence.
        causal: no query sees a key after it.

    Returns:
        (B, H, N, dv).

    Raises:
        ValueError: shapes that do not fit.

    Reference: the softmax layers of Sun et al., LASP-2H, arXiv 2502.07563, after Llama 3, arXiv 2407.21783.
    """
    if not q.ndim == k.ndim == v.ndim == 4 or k.shape[:3] != v.shape[:3] or q.shape[2] != k.shape[2]:
        shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"gathered_attention: needs q (B, H, N, d), k (B, Hkv, N, d), v (B, Hkv, N, dv), got {shapes}")
    everything = gather(torch.cat([k, v], -1), ranks)  # (ranks, B, Hkv, N, d + dv)
    seen = everything[: ranks.rank + 1] if causal else everything
    keys, values = seen.movedim(0, 2).flatten(2, 3).split([k.shape[3], v.shape[3]], -1)
    return attention(q, keys, values, causal=causal)


def gather(x: Tensor, ranks: Ranks) -> Tensor:
    """x of every rank, (ranks, *x.shape); the gradient of x is the sum of what all ranks have to say about it."""
    everything: Tensor = _Gather.apply(x, ranks)
    return everything


class _Gather(torch.autograd.Function):
    """All pieces forward; backward the sum of what all ranks have to say about this rank's piece."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.all_gather(x).wait()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.reduce_scatter(grad).wait(), None
