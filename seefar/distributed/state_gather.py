"""Sequence parallelism for linear attention: ranks exchange the matrices that sum up their tokens, never the tokens.

B batch, H heads, N tokens of this rank, d width of a query or key, dv width of a value.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from seefar.distributed.ranks import Pending, Ranks
from seefar.ops.linear_attention import check, exact, linear_attention

Exchange = Literal["all_gather", "ring"]


def state_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranks: Ranks,
    state: Tensor | None = None,
    *,
    decay: Tensor | None = None,
    causal: bool = True,
    exchange: Exchange = "all_gather",
) -> tuple[Tensor, Tensor | None]:
    """``linear_attention`` over a sequence of which every rank holds one piece, rank 0 the first.

    Rank t sums its piece up as M_t = sum_j (decay after j) k_j v_j^T and P_t, the product of its decays. From those of
    all ranks it has the state in which its piece begins, S_t = P_{t-1} S_{t-1} + M_{t-1}, and adds
    (decay up to i) q_i S_t to what its own tokens give each other. That local part runs while the matrices are on their
    way; so does its gradient while the gradients of the S_t are.

    A rank sends (ranks - 1) B H d dv numbers forward and as many backward, and with a decay (ranks - 1) B H forward for
    the P_t; two matrices instead of one where a decay meets causal=False. Nothing grows with N. Pieces may differ in N.

    All ranks must call this in the same order, and all or none go backward through it. Gradients are those of the sum
    of all ranks' losses; that of a decay (H,), which every rank has, is this rank's share of it.

    Args:
        q: (B, H, N, d) queries of this rank.
        k: (B, H, N, d) keys.
        v: (B, H, N, dv) values.
        ranks: that share the sequence.
        state: (B, H, d, dv) the matrix before the first token of all, on rank 0 alone.
        decay: (H,) or (B, H, N), as in ``linear_attention``.
        causal: no query reads a token after it.
        exchange: "all_gather", one collective each way, or "ring", where each rank waits for the one before it:
            ranks - 1 messages one after another. A rank then sends one matrix alone; causal only.

    Returns:
        (B, H, N, dv), and the matrix after this rank's last token (B, H, d, dv): on the last rank, the end of the
        sequence. None when not causal, for then nothing comes after.

    Raises:
        ValueError: what does not fit ``linear_attention``, no tokens, a state on another rank than 0, an unknown
            exchange, or a ring that is not causal.

    Reference: Sun et al., LASP-2, arXiv 2502.07563; the ring is that of LASP, arXiv 2404.02882. Differs: the products
    of the decays travel with the matrices, so that gates and pieces of different length are right too.
    """
    check(q, k, v, state, decay)  # before anything is sent, or the other ranks would wait
    _check(q, ranks, state, causal, exchange)
    if decay is None:
        since = left = None
        reads, writes, gain = q, k, None
    else:
        since, left = _fade(decay, q.shape[2])
        reads, writes, gain = q * since[..., None], k * left[..., None], since[..., -1].expand(q.shape[:2])
    kind = exact(q)
    end = writes.mT.to(kind) @ v.to(kind)
    if state is not None:
        end = end + (state if gain is None else gain[..., None, None] * state)
    summaries = end[None]
    if since is not None and not causal:  # what earlier ranks read has faded the other way
        summaries = torch.stack([end, (k * since[..., None]).mT.to(kind) @ v.to(kind)])
    box: _Box = _Ring(ranks) if exchange == "ring" else _Gather(ranks, causal)
    token = _Depart.apply(summaries, gain, box)
    o, _ = linear_attention(q, k, v, state, decay=decay, causal=causal)
    entering = _Arrive.apply(token, box)
    more = reads.to(kind) @ entering[0]
    if left is not None and not causal:
        more = more + (q * left[..., None]).to(kind) @ entering[1]
    if not causal:
        return o + more.to(o.dtype), None
    return o + more.to(o.dtype), end + (entering[0] if gain is None else gain[..., None, None] * entering[0])


def _fade(decay: Tensor, N: int) -> tuple[Tensor, Tensor]:
    """What the start of the piece has faded to at each token, and what each token has faded to at the end: (.., N)."""
    if decay.ndim == 1:
        place = torch.arange(N, device=decay.device)
        return decay[None, :, None] ** (place + 1), decay[None, :, None] ** (N - 1 - place)
    behind = torch.cat([decay[..., 1:], torch.ones_like(decay[..., :1])], -1)
    return decay.cumprod(-1), behind.flip(-1).cumprod(-1).flip(-1)


class _Box(Protocol):
    """One exchange, forward and back; it holds what is under way between its halves."""

    def depart(self, summaries: Tensor, gain: Tensor | None) -> None: ...
    def arrive(self) -> Tensor: ...
    def depart_back(self, grad: Tensor) -> None: ...
    def arrive_back(self) -> tuple[Tensor, Tensor | None]: ...


class _Depart(torch.autograd.Function):
    """Forward sends the summaries off; backward, which autograd runs after the local part's, waits for gradients."""

    @staticmethod
    def forward(ctx: Any, summaries: Tensor, gain: Tensor | None, box: _Box) -> Tensor:
        ctx.box = box
        box.depart(summaries, gain)
        return summaries.view_as(summaries)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad, grad_gain = ctx.box.arrive_back()
        return grad, grad_gain if ctx.needs_input_grad[1] else None, None


class _Arrive(torch.autograd.Function):
    """Forward waits for the entering states; backward sends their gradients off."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, box: _Box) -> Tensor:
        ctx.box = box
        return box.arrive().detach()  # the box keeps the other one: keeping this one would be a cycle

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.box.depart_back(grad)
        return grad, None


class _Gather:
    """One all-gather each way, then the chain over ranks on every rank."""

    def __init__(self, ranks: Ranks, causal: bool) -> None:
        self.ranks, self.causal = ranks, causal

    def depart(self, summaries: Tensor, gain: Tensor | None) -> None:
        self.shape, self.faded = summaries.shape, gain is not None
        parts = [summaries.flatten()] if gain is None else [summaries.flatten(), gain.flatten()]
        self.pending = self.ranks.all_gather(torch.cat(parts))

    def arrive(self) -> Tensor:
        everything = self.pending.wait()
        numbers = self.shape.numel()
        gains = everything[:, numbers:].unflatten(1, self.shape[1:3]) if self.faded else None
        self.gains = None if gains is None else gains.clone()  # a view would keep the matrices of all ranks
        states = everything[:, :numbers].unflatten(1, self.shape)
        self.entering = _entering(states, self.gains, self.ranks.rank, self.causal)
        return self.entering

    def depart_back(self, grad: Tensor) -> None:
        self.pending = self.ranks.all_gather(grad)

    def arrive_back(self) -> tuple[Tensor, Tensor | None]:
        gains = None if self.gains is None else self.gains.flip(0)
        last = self.ranks.world - 1
        # the chain transposed is the chain with the ranks in reverse
        grad = _entering(self.pending.wait().flip(0), gains, last - self.ranks.rank, self.causal)
        return grad, (grad * self.entering).sum((0, 3, 4)) if self.faded else None


def _entering(states: Tensor, gains: Tensor | None, rank: int, causal: bool) -> Tensor:
    """What reaches a rank from the ranks before it and, when not causal, from those after it.

    Args:
        states: (ranks, 1 or 2, B, H, d, dv) for readers after a rank, and for those before it where they differ.
        gains: (ranks, B, H) what each rank leaves of what passes it.
        rank: that is reached.
        causal: only from the ranks before it.

    Returns:
        (1 or 2, B, H, d, dv): the sum of both sides where readers do not differ.
    """
    passing = [1.0] * len(states) if gains is None else list(gains[..., None, None])
    before = after = torch.zeros_like(states[0, 0])
    for other in range(rank):
        before = passing[other] * before + states[other, 0]
    if causal:
        return before[None]
    for other in range(len(states) - 1, rank, -1):
        after = passing[other] * after + states[other, -1]
    return torch.stack([before, after]) if states.shape[1] == 2 else (before + after)[None]


class _Ring:
    """From rank to rank: each waits for the state before its piece and passes on the one after it."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def depart(self, summaries: Tensor, gain: Tensor | None) -> None:
        self.summaries, self.gain = summaries, 1.0 if gain is None else gain[..., None, None]
        self.faded = gain is not None
        self.coming = self._from(self.ranks.rank - 1, summaries)

    def arrive(self) -> Tensor:
        self.entering = torch.zeros_like(self.summaries) if self.coming is None else self.coming.wait()
        self._pass(self.gain * self.entering + self.summaries, self.ranks.rank + 1)
        return self.entering

    def depart_back(self, grad: Tensor) -> None:
        self.grad = grad
        self.coming = self._from(self.ranks.rank + 1, grad)

    def arrive_back(self) -> tuple[Tensor, Tensor | None]:
        grad = torch.zeros_like(self.grad) if self.coming is None else self.coming.wait()
        self._pass(self.gain * grad + self.grad, self.ranks.rank - 1)
        return grad, (grad * self.entering).sum((0, 3, 4)) if self.faded else None

    def _from(self, rank: int, like: Tensor) -> Pending | None:
        return self.ranks.receive(like, rank) if 0 <= rank < self.ranks.world else None

    def _pass(self, state: Tensor, rank: int) -> None:
        if 0 <= rank < self.ranks.world:
            self.ranks.send(state, rank).wait()


def _check(q: Tensor, ranks: Ranks, state: Tensor | None, causal: bool, exchange: str) -> None:
    if exchange not in ("all_gather", "ring"):
        raise ValueError(f"state_attention: exchange must be 'all_gather' or 'ring', got {exchange!r}")
    if exchange == "ring" and not causal:
        raise ValueError("state_attention: a ring only passes states on to later ranks; use exchange='all_gather'")
    if state is not None and ranks.rank > 0:
        raise ValueError(
            f"state_attention: the state before the first token belongs to rank 0, got one on rank {ranks.rank}; "
            "pass state=None there"
        )
    if q.shape[2] == 0:
        raise ValueError(f"state_attention: every rank needs tokens, q (B, H, N, d), got {tuple(q.shape)}")
