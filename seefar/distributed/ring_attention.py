"""Softmax attention over a sequence that ranks share: keys and values go around a ring, memory stays that of a piece.

B batch, H query heads, Hkv key heads, P ranks, n tokens of each, d width of a head, dv width of a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from seefar.distributed.layout import ALL, Contiguous, Layout, Meeting
from seefar.distributed.parcel import pack, unpack
from seefar.distributed.ranks import Pending, Ranks
from seefar.ops.attention import attention
from seefar.ops.attention.check import check_heads
from seefar.ops.attention.merge import merge_attention
from seefar.ops.attention.rules import Rules
from seefar.ops.attention.tiled import gradients

Travels = Literal["keys", "queries"]
IN_ORDER = Contiguous()


def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranks: Ranks,
    *,
    causal: bool = False,
    layout: Layout = IN_ORDER,
    segments: Tensor | None = None,
    scale: float | None = None,
    travels: Travels | None = None,
) -> Tensor:
    """``attention`` over a sequence of which every rank holds an equal share, with memory for a share alone.

    Forward, keys and values go once around: each rank attends to those it holds for the moment, while the next are on
    their way, and joins the parts by their log-sum-exp. Backward there is a choice of what goes around, with the other
    side at home:

    - "keys": k, v and their gradients, Hkv (2d + 2dv) numbers a token, as in ring attention;
    - "queries": q, do, dq, and log-sum-exp and (do . o) of each, H (2d + dv + 2) numbers a token, as in BurstAttention.

    What goes around makes P - 1 steps: the part of the gradient from home waits at home. With P - 1 as a factor, a
    token of a rank and a head of width d = dv that queries share one to one: 2d forward, and 4d or 3d + 2 backward.
    Gradients on their way are float32 or wider, the rest keeps its dtype.

    All ranks must call this in the same order, and all or none go backward through it.

    Args:
        q: (B, H, n, d) queries of this rank.
        k: (B, Hkv, n, d) keys.
        v: (B, Hkv, n, dv) values.
        ranks: that share the sequence.
        causal: no query sees a key after its own place.
        layout: which tokens a rank holds, see ``deal``. ``Zigzag`` and ``Striped`` make the work of causal attention
            even.
        segments: (B, n) int64, of packed sequences; only equal ones meet. They are gathered once, n numbers.
        scale: 1 / sqrt(d) when left out.
        travels: in the backward; whichever sends fewer bytes when left out: with key heads shared among more than 4 / 3
            query heads, keys.

    Returns:
        (B, H, n, dv).

    Raises:
        ValueError: shapes that do not fit, or that differ between ranks, as may layout, dtype and options.
        RankLost: a rank died or does not answer.

    Reference: Liu et al., Ring Attention, arXiv 2310.01889; Sun et al., BurstAttention, arXiv 2403.09347. Differs: the
    share of the gradient that a rank computes for itself is not sent around with the rest; one ring, not one inside of
    a machine and one between machines.
    """
    check_heads("ring_attention", q, k, v)
    _check(q, k, segments, travels)
    layout.places(q.shape[2], ranks.world)  # refuses what it cannot lay out, before anything is sent
    facts = [list(q.shape), list(k.shape), list(v.shape), str(q.dtype), causal, layout, scale, travels]
    facts += [segments is not None, torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))]
    ranks.agree("ring_attention", q, holds=facts)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if ranks.world == 1:
        return attention(q, k, v, causal=causal, segments=segments, scale=scale)
    gathered = None if segments is None else ranks.all_gather(segments)
    plan = _Plan(ranks, causal, layout, scale, travels or cheaper(q, k, v), gathered)
    out: Tensor = _Ring.apply(q, k, v, plan)
    return out


def cheaper(q: Tensor, k: Tensor, v: Tensor) -> Travels:
    """What sends fewer bytes when it goes around in the backward."""
    each = backward_bytes(q, k, v)
    return "keys" if each["keys"] <= each["queries"] else "queries"


def forward_bytes(k: Tensor, v: Tensor) -> int:
    """What a rank sends to the next in one of the P - 1 steps of the forward."""
    return k.nbytes + v.nbytes


def backward_bytes(q: Tensor, k: Tensor, v: Tensor) -> dict[Travels, int]:
    """What a rank sends to the next in one of the P - 1 steps of the backward, by what goes around."""
    wide = torch.promote_types(q.dtype, torch.float32).itemsize
    do = q.nbytes // q.shape[-1] * v.shape[-1]
    return {
        "keys": k.nbytes + v.nbytes + wide * (k.numel() + v.numel()),
        "queries": q.nbytes + do + wide * (q.numel() + 2 * q.numel() // q.shape[-1]),
    }


@dataclass
class _Plan:
    """One call: who meets whom, by which rule."""

    ranks: Ranks
    causal: bool
    layout: Layout
    scale: float
    travels: Travels
    gathered: Pending | None

    def meeting(self, queries: int, keys: int, n: int) -> Meeting | None:
        return self.layout.meeting(queries, keys, n) if self.causal else ALL

    def segments(self, meeting: Meeting, queries: int, keys: int) -> tuple[Tensor, Tensor] | None:
        if self.gathered is None:
            return None
        everyones = self.gathered.out
        return everyones[queries][:, meeting.rows], everyones[keys][:, meeting.columns]


class _Ring(torch.autograd.Function):
    """Forward around the ring with keys; backward with whatever the plan sends."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: _Plan) -> Tensor:
        exact, (B, H, n, _) = torch.promote_types(q.dtype, torch.float32), q.shape
        o, lse = q.new_zeros((B, H, n, v.shape[-1]), dtype=exact), q.new_full((B, H, n), -torch.inf, dtype=exact)
        ranks = plan.ranks
        if plan.gathered is not None:
            plan.gathered.wait()
        for source, parcel in ranks.around(pack([k, v])):
            meeting = plan.meeting(ranks.rank, source, n)
            if meeting is None:
                continue
            rows, columns, causal = meeting
            keys, values = (x[:, :, columns].to(exact) for x in unpack(parcel, [k, v]))
            segments = plan.segments(meeting, ranks.rank, source)
            part = attention(
                q[:, :, rows].to(exact),
                keys,
                values,
                causal=causal,
                segments=segments,
                scale=plan.scale,
                return_lse=True,
            )
            o[:, :, rows], lse[:, :, rows] = merge_attention([(o[:, :, rows], lse[:, :, rows]), part])
        out = o.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan = plan
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, o, lse = ctx.saved_tensors
        share = (do.to(lse.dtype) * o.to(lse.dtype)).sum(-1)
        way = _keys_travel if ctx.plan.travels == "keys" else _queries_travel
        dq, dk, dv = way(ctx.plan, q, k, v, do, share, lse / math.log(2))
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None


def _keys_travel(
    plan: _Plan, q: Tensor, k: Tensor, v: Tensor, do: Tensor, share: Tensor, log2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    own, follow = plan.ranks.rank, _Follow(plan.ranks, [k, v], share.dtype)
    dq = torch.zeros_like(q, dtype=share.dtype)
    for source, parcel in plan.ranks.around(pack([k, v])):
        keys, values = unpack(parcel, [k, v])
        parts = _partial(plan, own, source, q, keys, values, do, share, log2)
        if parts is not None:
            dq += parts[0]
        follow.add(None if parts is None else parts[1:])
    dk, dv = follow.home()
    return dq, dk, dv


def _queries_travel(
    plan: _Plan, q: Tensor, k: Tensor, v: Tensor, do: Tensor, share: Tensor, log2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    own, follow = plan.ranks.rank, _Follow(plan.ranks, [q], share.dtype)
    dk, dv = (torch.zeros_like(x, dtype=share.dtype) for x in (k, v))
    going = [q, do, share, log2]
    for source, parcel in plan.ranks.around(pack(going)):
        queries, gradient, shares, logs = unpack(parcel, going)
        parts = _partial(plan, source, own, queries, k, v, gradient, shares, logs)
        if parts is not None:
            dk += parts[1]
            dv += parts[2]
        follow.add(None if parts is None else parts[:1])
    (dq,) = follow.home()
    return dq, dk, dv


def _partial(
    plan: _Plan,
    queries: int,
    keys: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    do: Tensor,
    share: Tensor,
    log2: Tensor,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """What the queries of one rank and the keys of another add to dq, dk and dv; None for nothing."""
    meeting = plan.meeting(queries, keys, q.shape[2])
    if meeting is None:
        return None
    rows, columns, causal = meeting
    segments = plan.segments(meeting, queries, keys)
    some_q, some_do, some_share, some_log2 = (x[:, :, rows] for x in (q, do, share, log2))
    some_k, some_v = (x[:, :, columns] for x in (k, v))
    rules = Rules(some_q.shape[2], some_k.shape[2], causal, None, segments, plan.scale, lse=True)
    found = gradients(some_q, some_k, some_v, some_do, some_share, some_log2, rules)
    whole = [torch.zeros_like(x, dtype=share.dtype) for x in (q, k, v)]
    for out, at, part in zip(whole, (rows, columns, columns), found, strict=True):
        out[:, :, at] = part
    return whole[0], whole[1], whole[2]


class _Follow:
    """Sums that follow what goes around, one step behind: while a rank works out its share, they are on their way."""

    def __init__(self, ranks: Ranks, like: list[Tensor], dtype: torch.dtype) -> None:
        self.ranks = ranks
        self.like = [torch.zeros_like(x, dtype=dtype) for x in like]
        self.own: list[Tensor] | None = None
        self.coming: Pending | None = None

    def add(self, parts: tuple[Tensor, ...] | None) -> None:
        """The share of this rank in the sums of whatever it holds at this step; its own come first and stay."""
        mine = self.like if parts is None else list(parts)
        if self.own is None:
            self.own = mine
            return
        sums = list(self._arrived(mine))
        self.coming = self.ranks.turn(pack(sums))

    def home(self) -> list[Tensor]:
        """The sums of what is this rank's own, once they have come around."""
        assert self.own is not None
        return list(self._arrived(self.own))

    def _arrived(self, mine: list[Tensor]) -> Iterator[Tensor]:
        if self.coming is None:
            yield from mine
            return
        for other, part in zip(unpack(self.coming.wait(), self.like), mine, strict=True):
            yield other + part


def _check(q: Tensor, k: Tensor, segments: Tensor | None, travels: str | None) -> None:
    if q.shape[2] != k.shape[2] or q.shape[2] == 0:
        raise ValueError(
            f"ring_attention: a rank needs as many queries as keys, and at least one, got {q.shape[2]} and {k.shape[2]}"
        )
    if travels not in (None, "keys", "queries"):
        raise ValueError(f"ring_attention: travels must be 'keys', 'queries' or None, got {travels!r}")
    if segments is not None and (segments.shape != (q.shape[0], q.shape[2]) or segments.dtype != torch.int64):
        raise ValueError(
            f"ring_attention: segments must be those of this rank's tokens, {(q.shape[0], q.shape[2])} int64, "
            f"got {tuple(segments.shape)} {segments.dtype}"
        )
