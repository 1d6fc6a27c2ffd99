"""Attention of one head with an exchangeable score, whole or within chunks; the attention of ``GatedMixer``.

B batch, N tokens, Z width of queries and keys, E width of values, n queries and m keys that meet, c tokens of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.positions.rope import Rope

Score = Callable[[Tensor, Tensor | float, Tensor], Tensor]
"""(products (.., n, m), bias, visible (.., n, m) bool) -> weights (.., n, m), zero where nothing is visible."""


def softmax(products: Tensor, bias: Tensor | float, visible: Tensor) -> Tensor:
    """exp(q . k / sqrt(Z) + bias) over its sum; ``products`` are q . k / sqrt(Z)."""
    weights = (products + bias).masked_fill(~visible, -torch.inf)
    return weights.masked_fill(~visible.any(-1, keepdim=True), 0).softmax(-1) * visible


def laplace(products: Tensor, bias: Tensor | float, visible: Tensor) -> Tensor:
    """(1 + erf((s - mu) / (sigma sqrt 2))) / 2 of s = q . k / visible keys + bias: squared relu, but bounded.

    mu = sqrt(1/2) and sigma = sqrt(1 / (4 pi)), where it meets the squared relu with equal value and slope.
    """
    reached = products / visible.sum(-1, keepdim=True).clamp(min=1) + bias
    return 0.5 * (1 + torch.erf((reached - math.sqrt(0.5)) * math.sqrt(2 * math.pi))) * visible


def relu2(products: Tensor, bias: Tensor | float, visible: Tensor) -> Tensor:
    """relu(q . k / visible keys + bias) squared."""
    return (products / visible.sum(-1, keepdim=True).clamp(min=1) + bias).relu().square() * visible


class DistanceBias(nn.Module):
    """A learned number for each distance between query and key, up to ``reach`` tokens apart.

    Raises:
        ValueError: they are further apart.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        if reach < 1:
            raise ValueError(f"DistanceBias: reach must be at least 1, got {reach}")
        self.reach = reach
        self.table = nn.Parameter(0.02 * torch.randn(2 * reach - 1))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(n, m) for the places (n,) of queries and (m,) of keys."""
        apart = keys - queries[:, None]
        if apart.numel() and int(apart.abs().max()) >= self.reach:
            raise ValueError(
                f"DistanceBias: a key is {int(apart.abs().max())} tokens away, the table ends at {self.reach - 1}; "
                "give it a longer reach, or use TurningBias, which has no end"
            )
        return self.table[apart + self.reach - 1]


class TurningBias(nn.Module):
    """Two learned vectors turned by the places of query and key; their product depends on the distance, without end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rope = Rope(width)
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.key = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(n, m) for the places (n,) of queries and (m,) of keys."""
        turned = (
            self.rope(vector.expand(1, 1, len(places), -1), places)[0, 0]
            for vector, places in ((self.query, queries), (self.key, keys))
        )
        return next(turned) @ next(turned).mT


class ScoredState(NamedTuple):
    """Keys and values that later tokens may see, and how many tokens have passed.

    With chunks there are always c - 1 slots, of which the last ``seen`` modulo c hold the chunk that has begun.
    """

    k_BMZ: Tensor
    v_BME: Tensor
    seen: int


class ScoredAttention(nn.Module):
    """Weigh values by how well one query meets their keys: ``o_n = sum_m score(q_n . k_m)_m v_m``.

    Args:
        score: ``softmax``, ``laplace`` or ``relu2``; the last two are of each pair alone and divide by the number of
            keys that the query may see.
        chunk: tokens of a chunk, within which alone tokens meet; chunks don't overlap and count from the first token.
            The last may be shorter. None for all tokens.
        causal: no token sees a later one.
        bias: of places, ``DistanceBias`` or ``TurningBias``; None for none.

    ``bounded`` is True with chunks.

    Reference: Ma et al., Mega, arXiv 2209.10655.
    """

    def __init__(
        self, *, score: Score = softmax, chunk: int | None = None, causal: bool = True, bias: nn.Module | None = None
    ) -> None:
        super().__init__()
        if chunk is not None and chunk < 1:
            raise ValueError(f"ScoredAttention: a chunk holds at least one token, got {chunk=}")
        self.score, self.chunk, self.causal, self.bias = score, chunk, causal, bias
        self.bounded = chunk is not None

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, state: ScoredState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, ScoredState | None]:
        """(B, N, E) for q, k (B, N, Z) and v (B, N, E), going on from ``state``; none comes back if not causal.

        Args:
            q: queries.
            k: keys.
            v: values.
            state: of the tokens before.
            mask: (B, N) bool, False on padding, which no token sees; such a batch is mixed whole, without a state.
        """
        if state is not None and (not self.causal or mask is not None):
            why = "it has a mask" if self.causal else "it isn't causal"
            raise ValueError(f"ScoredAttention: {why}, so a sequence is mixed whole; leave out the state")
        N, seen = q.shape[1], 0 if state is None else state.seen
        if self.chunk is None:
            all_k, all_v = (k, v) if state is None else (torch.cat([state.k_BMZ, k], 1), torch.cat([state.v_BME, v], 1))
            o = self._attend(q, all_k, all_v, seen, mask)
            return o, ScoredState(all_k, all_v, seen + N) if self.causal and mask is None else None
        held = seen % self.chunk
        head = min(N, self.chunk - held) if held else 0
        pieces = []
        if state is not None:
            past = self.chunk - 1 - held
            k, v = torch.cat([state.k_BMZ[:, past:], k], 1), torch.cat([state.v_BME[:, past:], v], 1)
            if head:
                pieces.append(self._attend(q[:, :head], k[:, : held + head], v[:, : held + head], held, None))
        if head < N:
            pieces.append(self._chunks(q[:, head:], k[:, held + head :], v[:, held + head :], mask))
        o = torch.cat(pieces, 1)
        if not self.causal or mask is not None:
            return o, None
        left = (seen + N) % self.chunk
        kept_k, kept_v = (_slots(part[:, part.shape[1] - left :], self.chunk - 1) for part in (k, v))
        return o, ScoredState(kept_k, kept_v, seen + N)

    def _chunks(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """All chunks beside each other; the last one is filled up with tokens that none sees."""
        assert self.chunk is not None
        N, c = q.shape[1], min(self.chunk, q.shape[1])
        short = -N % c
        if short:
            mask = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device) if mask is None else mask
            mask = F.pad(mask, (0, short))
        q, k, v = (F.pad(part, (0, 0, 0, short)).unflatten(1, (-1, c)) for part in (q, k, v))
        return self._attend(q, k, v, 0, None if mask is None else mask.unflatten(1, (-1, c))).flatten(1, 2)[:, :N]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, first: int, mask: Tensor | None) -> Tensor:
        """Queries (.., n, Z), of which the first stands at key ``first``, over keys (.., m, Z) that ``mask`` allows."""
        places_m = torch.arange(k.shape[-2], device=q.device)
        places_n = torch.arange(first, first + q.shape[-2], device=q.device)
        visible = torch.ones(len(places_n), len(places_m), dtype=torch.bool, device=q.device)
        if self.causal:
            visible = places_m <= places_n[:, None]
        if mask is not None:
            visible = visible & mask[..., None, :]
        bias = 0.0 if self.bias is None else self.bias(places_n, places_m)
        scale = q.shape[-1] ** -0.5 if self.score is softmax else 1.0
        return self.score(scale * q @ k.mT, bias, visible) @ v


def _slots(part: Tensor, slots: int) -> Tensor:
    """The tokens at the end of so many slots; a copy, since a view would keep the whole chunk in memory."""
    return F.pad(part, (0, 0, slots - part.shape[1], 0)).clone()
