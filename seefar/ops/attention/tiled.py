"""Online softmax over tiles of keys: never more than one tile of scores in memory, forward or backward.

The forward keeps the log-sum-exp of each row; the backward recomputes each tile of weights from it. Tiles that no query
may see, by place or by segment, are never computed. Scores are taken in units of log 2, for PyTorch's exp2 is three
times as fast as its exp, and more where scores are -inf.

n and m are the rows and columns of a tile, G query heads share a key head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from seefar.ops.attention.rules import Rules

TILE = 256
SMALLEST_TILE = 64
LN2 = math.log(2)
SCORES = 2**19  # entries of one tile over all heads; 2 MiB in float32, about what a core caches


def cannot_run(q: Tensor, *_: Tensor | Rules) -> str | None:
    """Needs a floating dtype."""
    return None if q.is_floating_point() else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """The attention and its log-sum-exp, both differentiable once."""
    o, lse = _TiledAttention.apply(q, k, v, rules)
    return o, lse


class _TiledAttention(torch.autograd.Function):
    """dS = P (dP - rowsum(dO O) + dLSE), tile by tile."""

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
        B, H, N, _ = q.shape
        exact = torch.promote_types(q.dtype, torch.float32)
        o = q.new_empty((B, H, N, v.shape[-1]))
        log2 = q.new_empty((B, H, N), dtype=exact)
        lowest, room = torch.finfo(exact).min, q.new_empty(0, dtype=exact)
        for rows, row_tiles in _tiles(rules, B * H, q.device):
            q_tile = _grouped(q, k.shape[1], rows, exact) * (rules.scale / LN2)
            top = q_tile.new_full((*q_tile.shape[:2], 1), -torch.inf)
            total, mixed = torch.zeros_like(top), q_tile.new_zeros((*q_tile.shape[:2], v.shape[-1]))
            for columns in row_tiles:
                shape = (*q_tile.shape[:2], columns.stop - columns.start)
                if room.shape != shape:  # asking for memory for each tile takes a tenth of the time of its product
                    room = q_tile.new_empty(shape)
                scores = torch.bmm(q_tile, _heads(k, columns, exact).mT, out=room)
                _forbid(scores, rules, rows, columns, B)
                higher = torch.maximum(top, scores.amax(-1, keepdim=True))
                base = higher.clamp(min=lowest)  # a row that has met no key yet is at -inf
                weights = scores.sub_(base).exp2_()
                fade = (top - base).exp2_()
                total.mul_(fade).add_(weights.sum(-1, keepdim=True))
                mixed.mul_(fade).baddbmm_(weights, _heads(v, columns, exact))
                top = higher
            o[:, :, rows] = (mixed / total.masked_fill(total == 0, 1)).view(B, H, -1, v.shape[-1]).to(q.dtype)
            log2[:, :, rows] = (top + total.log2()).view(B, H, -1)
        ctx.save_for_backward(q, k, v, o, log2)
        ctx.rules = rules  # type: ignore[attr-defined]
        ctx.set_materialize_grads(False)
        return o, (log2 * LN2).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, do: Tensor | None, dlse: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        q, k, v, o, log2 = ctx.saved_tensors  # type: ignore[attr-defined]
        rules: Rules = ctx.rules  # type: ignore[attr-defined]
        if do is None and dlse is None:
            return None, None, None, None
        exact = log2.dtype
        do = torch.zeros_like(o) if do is None else do
        share = (do.to(exact) * o.to(exact)).sum(-1)
        if dlse is not None:
            share = share - dlse.to(exact)
        dq, dk, dv = gradients(q, k, v, do, share, log2, rules)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None


def gradients(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, share: Tensor, log2: Tensor, rules: Rules
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of attention as far as these keys go, which may be some of all that the queries saw.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys.
        v: (B, Hkv, M, dv) values.
        do: (B, H, N, dv) gradient of the output over all keys.
        share: (B, H, N) of do and that output the product, less the gradient of the log-sum-exp; float32 or wider.
        log2: (B, H, N) the log-sum-exp over all keys, in units of log 2, in the dtype of ``share``.
        rules: for these queries and keys.

    Returns:
        dq, dk and dv in the dtype of ``share``; dq and, for queries elsewhere, dk and dv are sums to be added up.
    """
    (B, H, _, d), Hkv, exact = q.shape, k.shape[1], log2.dtype
    base = log2.clamp(min=torch.finfo(exact).min)  # forbidden scores then give 2^-inf = 0
    dq = q.new_empty(q.shape, dtype=exact)
    dk, dv = k.new_zeros(k.shape, dtype=exact), v.new_zeros(v.shape, dtype=exact)
    for rows, row_tiles in _tiles(rules, B * H, q.device):
        q_tile, do_tile = _grouped(q, Hkv, rows, exact) * (rules.scale / LN2), _grouped(do, Hkv, rows, exact)
        base_tile, share_tile = (_grouped(x[..., None], Hkv, rows, exact) for x in (base, share))
        dq_tile = torch.zeros_like(q_tile)
        for columns in row_tiles:
            k_tile, v_tile = _heads(k, columns, exact), _heads(v, columns, exact)
            weights = torch.bmm(q_tile, k_tile.mT)
            _forbid(weights, rules, rows, columns, B)
            weights.sub_(base_tile).exp2_()
            dv[:, :, columns] += torch.bmm(weights.mT, do_tile).view(B, Hkv, -1, v.shape[-1])
            dscores = torch.bmm(do_tile, v_tile.mT).sub_(share_tile).mul_(weights)
            dq_tile.baddbmm_(dscores, k_tile)
            dk[:, :, columns] += torch.bmm(dscores.mT, q_tile).view(B, Hkv, -1, d)
        dq[:, :, rows] = (dq_tile * rules.scale).view(B, H, -1, d)
    return dq, dk.mul_(LN2), dv


def _tiles(rules: Rules, heads: int, device: torch.device) -> Iterator[tuple[slice, list[slice]]]:
    """Each tile of queries with the tiles of keys that some query of it may see."""
    widest = TILE if rules.window is None else min(TILE, max(SMALLEST_TILE, rules.window))
    n = widest
    while n > SMALLEST_TILE and n * n * heads > SCORES:
        n //= 2
    met = None if rules.segments is None else _meetings(*rules.segments, n)
    for i in range(0, rules.N, n):
        first, last = rules.keys_of(i, min(i + n, rules.N))
        columns = [
            slice(j, min(j + n, rules.M)) for j in range(first // n * n, last, n) if met is None or met[i // n][j // n]
        ]
        yield slice(i, min(i + n, rules.N)), columns


def _meetings(q_segments: Tensor, k_segments: Tensor, n: int) -> list[list[bool]]:
    """Whether the range of segments in each tile of queries overlaps that in each tile of keys, in any row."""
    (q_low, q_high), (k_low, k_high) = _ranges(q_segments, n), _ranges(k_segments, n)
    overlap = (q_low[:, :, None] <= k_high[:, None]) & (k_low[:, None] <= q_high[:, :, None])
    meetings: list[list[bool]] = overlap.any(0).tolist()
    return meetings


def _ranges(segments: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(B, tiles) lowest and highest segment of each tile of n tokens."""
    tiles = segments.split(n, 1)
    return torch.stack([t.amin(1) for t in tiles], 1), torch.stack([t.amax(1) for t in tiles], 1)


def _grouped(x_BHNd: Tensor, Hkv: int, rows: slice, dtype: torch.dtype) -> Tensor:
    """(B Hkv, G n, d): the query heads of one key head under each other, so that one product serves all of them."""
    tile = x_BHNd[:, :, rows]
    return tile.reshape(tile.shape[0] * Hkv, -1, tile.shape[-1]).to(dtype)


def _heads(x_BHMd: Tensor, columns: slice, dtype: torch.dtype) -> Tensor:
    return x_BHMd[:, :, columns].flatten(0, 1).to(dtype)


def _forbid(scores: Tensor, rules: Rules, rows: slice, columns: slice, B: int) -> None:
    allowed = rules.allowed(rows, columns, scores.device)
    if allowed is not None:
        n, m = rows.stop - rows.start, columns.stop - columns.start
        tiles = scores.view(B, scores.shape[0] // B, -1, n, m)
        tiles.masked_fill_(~allowed, -torch.inf)
