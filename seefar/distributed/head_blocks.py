"""Multi-head attention shared by heads and by blocks of queries: every rank works out one tile of the output.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head, dv width of a value, P ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.distributed.ranks import Ranks
from seefar.ops.attention import attention
from seefar.ops.attention.check import check_heads


class Tile(NamedTuple):
    """The heads and the queries that a rank works on."""

    heads: range
    rows: range


def tiles(heads: int, queries: int, head_parts: int, row_parts: int) -> list[Tile]:
    """What each rank works on, rank 0 first; parts differ by one head and one query at most.

    Raises:
        ValueError: more parts than heads or queries, or none.

    Example:
        >>> [(list(tile.heads), list(tile.rows)) for tile in tiles(3, 4, 2, 2)]
        [([0, 1], [0, 1]), ([0, 1], [2, 3]), ([2], [0, 1]), ([2], [2, 3])]
    """
    if not 1 <= head_parts <= heads or not 1 <= row_parts <= queries:
        raise ValueError(
            f"distributed_mha: {heads} heads make 1 to {heads} parts and {queries} queries 1 to {queries}, got "
            f"{head_parts} x {row_parts}; use fewer ranks"
        )
    return [Tile(h, r) for h in _split(heads, head_parts) for r in _split(queries, row_parts)]


def distributed_mha(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranks: Ranks,
    *,
    head_parts: int,
    row_parts: int,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``attention`` of which every rank holds all inputs and gets all outputs, and works out a P-th.

    The heads are cut into ``head_parts`` and the queries into ``row_parts``; rank r works on one part of each, with
    memory for its tile alone, and the tiles are gathered. A rank sends (P - 1) tiles forward; backward, where the
    gradients of q, k and v are summed over the ranks, 2 (P - 1) / P of them. Causal tiles late in the sequence are more
    work than early ones; ``ring_attention`` evens that out, and shares the inputs too.

    All ranks must call this in the same order with the same inputs, and form the same loss of the outputs; gradients
    are then those of one process.

    Args:
        q: (B, H, N, d) all queries, on every rank.
        k: (B, Hkv, M, d) keys.
        v: (B, Hkv, M, dv) values.
        ranks: that share the work, ``head_parts * row_parts`` of them.
        head_parts: of heads; H need not be a multiple.
        row_parts: of queries; N need not be a multiple.
        causal: no query sees a key after its place, the last query standing at the last key.
        scale: 1 / sqrt(d) when left out.

    Returns:
        (B, H, N, dv).

    Raises:
        ValueError: parts that do not fit heads, queries or ranks, or shapes that differ between ranks.
        RankLost: a rank died or does not answer.

    Reference: the distributed multi-head attention of arXiv 2302.06218, which has no code. Differs: how its parts are
    cut and gathered is not told there; heads may share keys.
    """
    check_heads("distributed_mha", q, k, v)
    every = tiles(q.shape[1], q.shape[2], head_parts, row_parts)
    if len(every) != ranks.world:
        raise ValueError(
            f"distributed_mha: {head_parts} x {row_parts} parts are for {len(every)} ranks, here are {ranks.world}"
        )
    facts = [list(q.shape), list(k.shape), list(v.shape), str(q.dtype), head_parts, row_parts, causal, scale]
    facts.append(torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)))
    ranks.agree("distributed_mha", q, holds=facts)
    if ranks.world == 1:
        return attention(q, k, v, causal=causal, scale=scale)
    q, k, v = (_Share.apply(x, ranks) for x in (q, k, v))
    own = tile_attention(q, k, v, every[ranks.rank], causal=causal, scale=scale)
    out: Tensor = _Join.apply(own, ranks, every)
    return out


def tile_attention(
    q: Tensor, k: Tensor, v: Tensor, tile: Tile, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """What one rank works out: its heads and queries of ``attention`` (B, H, N, dv), and nothing of the others."""
    (first, last), (top, end) = ((part.start, part.stop) for part in tile)
    group, seen = q.shape[1] // k.shape[1], k.shape[2] - q.shape[2] + end if causal else k.shape[2]
    if first % group or last % group:  # a part cuts through the queries of a key head
        shared = torch.arange(first, last, device=k.device) // group
        k, v = k[:, shared], v[:, shared]
    else:
        k, v = (x[:, first // group : last // group] for x in (k, v))
    return attention(q[:, first:last, top:end], k[:, :, :seen], v[:, :, :seen], causal=causal, scale=scale)


def _split(count: int, parts: int) -> list[range]:
    each, more = divmod(count, parts)
    starts = [i * each + min(i, more) for i in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


class _Share(torch.autograd.Function):
    """What every rank has; its gradient is the sum of what each rank's tile has to say about it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        pieces = F.pad(grad.flatten(), (0, -grad.numel() % ranks.world)).view(ranks.world, -1)
        summed = ranks.all_gather(ranks.reduce_scatter(pieces).wait()).wait()
        return summed.flatten()[: grad.numel()].view(grad.shape), None


class _Join(torch.autograd.Function):
    """The tiles of all ranks as one tensor; a rank's share of its gradient is that of its own tile."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks, every: Sequence[Tile]) -> Tensor:
        ctx.tile = every[ranks.rank]
        heads, rows = (max(len(tile[i]) for tile in every) for i in (0, 1))
        padded = F.pad(own, (0, 0, 0, rows - own.shape[2], 0, heads - own.shape[1]))
        out = own.new_empty(own.shape[0], every[-1].heads.stop, every[-1].rows.stop, own.shape[3])
        for tile, piece in zip(every, ranks.all_gather(padded).wait(), strict=True):
            out[:, _slice(tile.heads), _slice(tile.rows)] = piece[:, : len(tile.heads), : len(tile.rows)]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[:, _slice(ctx.tile.heads), _slice(ctx.tile.rows)], None, None


def _slice(part: range) -> slice:
    return slice(part.start, part.stop)
