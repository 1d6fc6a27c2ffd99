"""The kept keys of some blocks of queries side by side, then plain products: work and memory go by what is kept.

The forward keeps the log-sum-exp of each row; the backward gathers and computes each strip of weights again. Scores are
taken in units of log 2, for PyTorch's exp2 is several times as fast as its exp.

n and m are the height and width of a block, r blocks of queries are worked on at once, K kept blocks at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from seefar.ops.block_attention.mask import BlockMask

LN2 = math.log(2)


def cannot_run(q: Tensor, *_: Tensor | BlockMask) -> str | None:
    """Needs a floating dtype."""
    return None if q.is_floating_point() else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask, scale: float) -> tuple[Tensor, Tensor]:
    """The attention and its log-sum-exp, both differentiable once."""
    if mask.order is None:
        o, lse = _GatheredAttention.apply(q, k, v, mask, scale)
        return o, lse
    queries, keys = (order.to(q.device) for order in mask.order)
    o, lse = _GatheredAttention.apply(q[:, :, queries], k[:, :, keys], v[:, :, keys], mask, scale)
    back = torch.argsort(queries)
    return o[:, :, back], lse[:, :, back]


class _GatheredAttention(torch.autograd.Function):
    """dS = P (dP - rowsum(dO O) + dLSE), strip by strip."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, mask: BlockMask, scale: float
    ) -> tuple[Tensor, Tensor]:
        (B, H, N, d), dv = q.shape, v.shape[-1]
        n, m = mask.block
        exact = torch.promote_types(q.dtype, torch.float32)
        q_blocks, k_blocks, v_blocks = _blocks(q, n, exact), _blocks(k, m, exact), _blocks(v, m, exact)
        o = q.new_zeros((B * H, mask.rows, n, dv))
        log2 = q.new_full((B * H, mask.rows, n), -torch.inf, dtype=exact)
        lowest = torch.finfo(exact).min
        for rows, allowed, index in _strips(mask, B, H, k.shape[1], max(d, dv), q.device):
            q_tile = q_blocks[:, rows].flatten(0, 1) * (scale / LN2)
            scores = torch.bmm(q_tile, _gather(k_blocks, index).mT)
            _forbid(scores, allowed, B, H)
            top = scores.amax(-1, keepdim=True)
            weights = scores.sub_(top.clamp(min=lowest)).exp2_()  # a row without a key is at -inf
            total = weights.sum(-1, keepdim=True)
            mixed = torch.bmm(weights, _gather(v_blocks, index)).div_(total.masked_fill(total == 0, 1))
            o[:, rows] = mixed.view(B * H, -1, n, dv).to(q.dtype)
            log2[:, rows] = (top + total.log2()).view(B * H, -1, n)
        o = o.view(B, H, -1, dv)[:, :, :N]
        log2 = log2.view(B, H, -1)[:, :, :N]
        ctx.save_for_backward(q, k, v, o, log2)
        ctx.mask, ctx.scale = mask, scale  # type: ignore[attr-defined]
        ctx.set_materialize_grads(False)
        return o, (log2 * LN2).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, do: Tensor | None, dlse: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        q, k, v, o, log2 = ctx.saved_tensors  # type: ignore[attr-defined]
        mask: BlockMask = ctx.mask  # type: ignore[attr-defined]
        scale: float = ctx.scale  # type: ignore[attr-defined]
        if do is None and dlse is None:
            return None, None, None, None, None
        (B, H, N, d), exact, (n, m) = q.shape, log2.dtype, mask.block
        do = torch.zeros_like(o) if do is None else do
        share = (do.to(exact) * o.to(exact)).sum(-1)
        if dlse is not None:
            share = share - dlse.to(exact)
        base = log2.clamp(min=torch.finfo(exact).min)  # forbidden scores then give 2^-inf = 0
        q_blocks, k_blocks, v_blocks = _blocks(q, n, exact), _blocks(k, m, exact), _blocks(v, m, exact)
        do_blocks = _blocks(do, n, exact)
        share_blocks, base_blocks = (_blocks(x[..., None], n, exact) for x in (share, base))
        dq, dk, dv = torch.zeros_like(q_blocks), torch.zeros_like(k_blocks), torch.zeros_like(v_blocks)
        for rows, allowed, index in _strips(mask, B, H, k.shape[1], max(d, v.shape[-1]), q.device):
            q_tile, do_tile, share_tile, base_tile = (
                x[:, rows].flatten(0, 1) for x in (q_blocks, do_blocks, share_blocks, base_blocks)
            )
            k_tile, v_tile = _gather(k_blocks, index), _gather(v_blocks, index)
            q_tile = q_tile * (scale / LN2)
            weights = torch.bmm(q_tile, k_tile.mT)
            _forbid(weights, allowed, B, H)
            weights.sub_(base_tile).exp2_()
            dscores = torch.bmm(do_tile, v_tile.mT).sub_(share_tile).mul_(weights)
            dq[:, rows] = torch.bmm(dscores, k_tile).mul_(scale).view(B * H, -1, n, d)
            _scatter(dk, index, torch.bmm(dscores.mT, q_tile).mul_(LN2))
            _scatter(dv, index, torch.bmm(weights.mT, do_tile))
        return (
            dq.view(B, H, -1, d)[:, :, :N].to(q.dtype),
            dk.view(*k.shape[:2], -1, d)[:, :, : mask.M].to(k.dtype),
            dv.view(*v.shape[:2], -1, v.shape[-1])[:, :, : mask.M].to(v.dtype),
            None,
            None,
        )


def _blocks(x: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """(B H, blocks, size, d) of (B, H, N, d), the last block filled up with zeros."""
    x = F.pad(x.to(dtype), (0, 0, 0, -x.shape[2] % size))
    return x.reshape(x.shape[0] * x.shape[1], -1, size, x.shape[-1]).contiguous()


def _strips(
    mask: BlockMask, B: int, H: int, Hkv: int, width: int, device: torch.device
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of queries, which pairs meet in them, and (B H r, K) numbers of their keys among the blocks of all."""
    heads = torch.arange(B, device=device)[:, None] * Hkv + torch.arange(H, device=device) // (H // Hkv)
    for rows, count in mask.strips(B * H, width):
        if count:
            kept = mask.kept[:, :, rows, :count].to(device)
            index = kept.clamp(min=0) + heads[:, :, None, None] * mask.columns
            yield rows, mask.allowed(rows, count).to(device), index.flatten(0, 2)


def _gather(blocks: Tensor, index: Tensor) -> Tensor:
    """(B H r, K m, d) the kept blocks of each block of queries."""
    rows = blocks.view(-1, blocks.shape[2] * blocks.shape[3]).index_select(0, index.flatten())
    return rows.view(len(index), -1, blocks.shape[3])


def _scatter(blocks: Tensor, index: Tensor, tiles: Tensor) -> None:
    """Add (B H r, K m, d) to the blocks that they came from."""
    flat = blocks.view(-1, blocks.shape[2] * blocks.shape[3])
    flat.index_add_(0, index.flatten(), tiles.reshape(-1, flat.shape[1]))


def _forbid(scores: Tensor, allowed: Tensor, B: int, H: int) -> None:
    """Scores (B H r, n, K m) become -inf where a pair does not meet."""
    scores.view(B, H, -1, *scores.shape[1:]).masked_fill_(~allowed, -torch.inf)
