"""Ring self-attention: keys go around for the scores, then values for the output; a rank keeps its rows of scores.

B batch, H query heads, Hkv key heads, P ranks, n tokens of each, d width of a head, dv width of a value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seefar.distributed.ranks import Ranks
from seefar.ops.attention.check import check_heads


def ring_self_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranks: Ranks,
    *,
    causal: bool = False,
    segments: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """``attention`` over a sequence of which every rank holds an equal piece, rank 0 the first, in whole rows.

    Forward: keys go once around, and fill the rank's n x Pn scores; softmax over whole rows; values go once around, and
    each adds its part of the output. Backward: values and keys go around once more, for the gradients of the scores
    and of q; those of k and v for all P pieces are summed over the ranks at the end.

    A rank keeps H n Pn weights, a P-th of all of them, and nothing else grows with Pn but the two sums. It sends
    (P - 1) n Hkv (d + dv) numbers forward and twice that backward. ``ring_attention`` joins parts as they come instead,
    keeps no scores, and sends less; this one is for comparison, and for whoever needs the weights.

    All ranks must call this in the same order, and all or none go backward through it.

    Args:
        q: (B, H, n, d) queries of this rank.
        k: (B, Hkv, n, d) keys.
        v: (B, Hkv, n, dv) values.
        ranks: that share the sequence.
        causal: no query sees a key after its own place.
        segments: (B, n) int64, of packed or padded sequences; only equal ones meet. They are gathered once.
        scale: 1 / sqrt(d) when left out.

    Returns:
        (B, H, n, dv).

    Raises:
        ValueError: shapes that do not fit, or shapes, dtypes and options that differ between ranks.
        RankLost: a rank died or does not answer.

    Reference: Li et al., Sequence Parallelism, arXiv 2105.13120. Differs: gradients of keys and values are summed where
    they are needed (one reduce-scatter each), not on all ranks, half of the bytes; gradients are those of the sum of
    all ranks' losses, where the released code divides those of q, k and v by P for a mean that is taken elsewhere.
    """
    check_heads("ring_self_attention", q, k, v)
    _check(q, k, segments)
    facts = [list(q.shape), list(k.shape), list(v.shape), str(q.dtype), causal, scale, segments is not None]
    facts.append(torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)))
    ranks.agree("ring_self_attention", q, holds=facts)
    mask = _mask(q, ranks, causal, segments)
    out: Tensor = _TwoPasses.apply(q, k, v, ranks, mask, q.shape[-1] ** -0.5 if scale is None else scale)
    return out


class _TwoPasses(torch.autograd.Function):
    """dS = P (dP - rowsum(dO O)), one piece of columns at a time."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, ranks: Ranks, mask: Tensor | None, scale: float) -> Tensor:
        n = q.shape[2]
        grouped = _grouped(q, k)
        weights = q.new_empty((*grouped.shape[:4], ranks.world * n))
        for source, keys in ranks.around(k):
            torch.mul(grouped @ keys[:, :, None].mT, scale, out=weights[..., _columns(source, n)])
        if mask is not None:
            weights.masked_fill_(~mask, -torch.inf)
        weights = weights.softmax(-1)
        o = q.new_zeros((*grouped.shape[:4], v.shape[-1]))
        for source, values in ranks.around(v):
            o += weights[..., _columns(source, n)] @ values[:, :, None]
        out = o.flatten(1, 2)
        ctx.save_for_backward(q, k, v, weights, out)
        ctx.ranks, ctx.scale = ranks, scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, o = ctx.saved_tensors
        ranks, n = ctx.ranks, q.shape[2]
        grouped, gradient = _grouped(q, k), _grouped(do, k)
        share = (gradient * _grouped(o, k)).sum(-1, keepdim=True)
        dscores = torch.empty_like(weights)
        dv = v.new_empty((ranks.world, *v.shape))
        for source, values in ranks.around(v):
            at = _columns(source, n)
            dscores[..., at] = weights[..., at] * (gradient @ values[:, :, None].mT - share) * ctx.scale
            dv[source] = (weights[..., at].mT @ gradient).sum(2)
        summed_v = ranks.reduce_scatter(dv)
        dq = torch.zeros_like(grouped)
        dk = k.new_empty((ranks.world, *k.shape))
        for source, keys in ranks.around(k):
            at = _columns(source, n)
            dq += dscores[..., at] @ keys[:, :, None]
            dk[source] = (dscores[..., at].mT @ grouped).sum(2)
        summed_k = ranks.reduce_scatter(dk)
        return dq.flatten(1, 2), summed_k.wait(), summed_v.wait(), None, None, None


def _grouped(x: Tensor, k: Tensor) -> Tensor:
    """(B, Hkv, G, n, .): the G query heads of a key head together."""
    return x.unflatten(1, (k.shape[1], -1))


def _columns(source: int, n: int) -> slice:
    return slice(source * n, (source + 1) * n)


def _mask(q: Tensor, ranks: Ranks, causal: bool, segments: Tensor | None) -> Tensor | None:
    """(B or 1, 1, 1, n, Pn) bool: which keys of all ranks the queries of this one see."""
    n, mask = q.shape[2], None
    if causal:
        own = torch.arange(n, device=q.device) + ranks.rank * n
        mask = (own[:, None] >= torch.arange(ranks.world * n, device=q.device))[None, None, None]
    if segments is not None:
        everyones = ranks.all_gather(segments).wait().movedim(0, 1).flatten(1)
        same = segments[:, None, None, :, None] == everyones[:, None, None, None]
        mask = same if mask is None else mask & same
    return mask


def _check(q: Tensor, k: Tensor, segments: Tensor | None) -> None:
    if q.shape[2] != k.shape[2] or q.shape[2] == 0:
        raise ValueError(
            f"ring_self_attention: a rank needs as many queries as keys, and at least one, got {q.shape[2]} and "
            f"{k.shape[2]}"
        )
    if segments is not None and (segments.shape != (q.shape[0], q.shape[2]) or segments.dtype != torch.int64):
        raise ValueError(
            f"ring_self_attention: segments must be those of this rank's tokens, {(q.shape[0], q.shape[2])} int64, "
            f"got {tuple(segments.shape)} {segments.dtype}"
        )
