"""Hourglass: the middle of a network runs at a fraction of the length, between layers that run at all of it.

B batch, N tokens, D channels, k tokens of a group, G groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.block import Stack
from seefar.mixers.look import Look, LookState
from seefar.mixers.pattern import column


class Resample(Protocol):
    """k tokens to one and back; ``LinearResample`` and ``MeanResample`` are."""

    def down(self, x_BGkD: Tensor) -> Tensor:
        """(B, G, D)."""

    def up(self, x_BGD: Tensor) -> Tensor:
        """(B, G, k, D)."""


class LinearResample(nn.Module):
    """One matrix from k D to D channels, one back."""

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.shorten, self.lengthen = nn.Linear(factor * dim, dim), nn.Linear(dim, factor * dim)

    def down(self, x_BGkD: Tensor) -> Tensor:
        """(B, G, D)."""
        short: Tensor = self.shorten(x_BGkD.flatten(2))
        return short

    def up(self, x_BGD: Tensor) -> Tensor:
        """(B, G, k, D)."""
        long: Tensor = self.lengthen(x_BGD).unflatten(-1, (self.factor, -1))
        return long


class MeanResample(nn.Module):
    """The mean of k tokens, and k copies of what comes back."""

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def down(self, x_BGkD: Tensor) -> Tensor:
        """(B, G, D)."""
        return x_BGkD.mean(2)

    def up(self, x_BGD: Tensor) -> Tensor:
        """(B, G, k, D)."""
        return x_BGD[:, :, None].expand(-1, -1, self.factor, -1)


class HourglassState(NamedTuple):
    """The last k - 1 tokens, what the last group gives to its k places, the tokens seen, and the states within."""

    recent_BkD: Tensor
    spread_BkD: Tensor
    seen: int
    inner: Any
    down: LookState | None
    up: LookState | None


class Hourglass(Mixer):
    """Mix groups of k tokens by a mixer of their own, and give each place of the next group its share.

    s_g = down(x_{gk-k+1}, ..., x_{gk}),    z = norm(inner(s)),    y_t = x_t + norm(up(z_{t // k})_{t mod k})

    A group ends with the first token that it serves, k - 1 tokens earlier than groups cut at multiples of k would: else
    a token would see those after it. What stands before the first token is zero. A sequence may have any length; the
    last group then serves fewer tokens. Residual path and norms are inside: it stands in a ``Stack`` by itself.

    With ``Look``s a group also attends to all tokens up to its last one, and a token, from what its group gives it and
    itself, to all groups up to its own: up(z) becomes look(up(z), beside x; all z), and down likewise.

    Args:
        inner: causal; may hold another ``Hourglass``.
        factor: k.
        resample: makes down and up from D and k.
        look_down: makes, from D, what groups look at tokens with; None for ``resample`` alone.
        look_up: the same for tokens and groups.

    ``bounded`` if its inner mixer is and nothing looks.

    Reference: Nawrot et al., Hierarchical Transformers Are More Efficient Language Models, arXiv 2110.13711, and its
    code. Differs: no norm between the layers before and this one; what stands before the first token is not looked at;
    random factors are left out.
    """

    causal = True

    def __init__(
        self,
        dim: int,
        inner: Mixer,
        factor: int,
        *,
        resample: Callable[[int, int], Resample] = LinearResample,
        look_down: Callable[[int], Look] | None = None,
        look_up: Callable[[int], Look] | None = None,
    ) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"Hourglass: a group has at least one token, got {factor=}")
        if not inner.causal:
            raise ValueError("Hourglass: its inner mixer must be causal, or a token would see those after it")
        self.factor, self.bounded = factor, inner.bounded and look_down is None and look_up is None
        self.inner, self.resample = inner, resample(dim, factor)
        self.short_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.long_norm = nn.Identity() if look_down is None else nn.LayerNorm(dim)
        self.look_down = None if look_down is None else look_down(dim)
        self.look_up = None if look_up is None else look_up(dim)

    def forward(self, x: Tensor, state: HourglassState | None = None) -> tuple[Tensor, HourglassState]:
        """Mix x (B, N, D), going on from ``state``."""
        B, N, D = x.shape
        if not N:
            raise ValueError(f"Hourglass: needs at least one token, got x {tuple(x.shape)}")
        k, seen = self.factor, 0 if state is None else state.seen
        recent, spread, _, inner, down, up = state or (x.new_zeros(B, k - 1, D), None, 0, None, None, None)
        all_x = torch.cat([recent, x], 1)
        near = self.long_norm(all_x)
        if self.look_down is not None:
            down = self.look_down.remember(near[:, k - 1 :], down)
        first = -seen % k  # tokens that the group which has begun still serves
        groups = max(0, -(-(N - first) // k))
        shares = []
        if spread is not None and first:
            shares.append(spread[:, k - first :])
        if groups:
            short = self.resample.down(near[:, first : first + groups * k].unflatten(1, (groups, k)))
            if self.look_down is not None and down is not None:
                short = self.look_down(short, seen + first + k * torch.arange(groups, device=x.device), down)
            mixed, inner = self.inner(short, inner)
            mixed = self.short_norm(mixed)
            if self.look_up is not None:
                up = self.look_up.remember(mixed, up, stride=k)
            long = self.resample.up(mixed)
            shares.append(long.flatten(1, 2))
            spread = long[:, -1].clone()
        assert spread is not None
        given = torch.cat(shares, 1)[:, :N]
        if self.look_up is not None and up is not None:
            given = self.look_up(given, seen + torch.arange(N, device=x.device), up, stride=k, beside=x)
        # copies: views would keep the whole chunk in memory
        return x + self.norm(given), HourglassState(all_x[:, N:].clone(), spread, seen + N, inner, down, up)


def hourglass(
    hierarchy: str,
    dim: int,
    pattern: str,
    *,
    resample: Callable[[int, int], Resample] = LinearResample,
    look_down: Callable[[int], Look] | None = None,
    look_up: Callable[[int], Look] | None = None,
    norm: Callable[[int], nn.Module] | None = None,
    **makers: Callable[[], Mixer],
) -> Stack:
    """Columns at several lengths within each other.

    Args:
        hierarchy: such as ``"2@1 4@3 2@1"``: two layers at full length, four at a third of it, two at full length.
        dim: D.
        pattern: one layer, for ``column``, such as ``"A F"``.
        resample: makes down and up from D and the factor between two levels.
        look_down: makes what groups look at tokens with, see ``Hourglass``.
        look_up: the same for tokens and groups.
        norm: of the layers, for ``column``.
        makers: the letters of the pattern.

    Raises:
        ValueError: a hierarchy that is not the same read backwards, does not begin at 1, or has a factor that the next
            one is no multiple of.
    """
    found = re.findall(r"(\d+)@(\d+)", hierarchy)
    levels = [(int(layers), int(factor)) for layers, factor in found]
    if " ".join(f"{layers}@{factor}" for layers, factor in levels) != " ".join(hierarchy.split()) or not levels:
        raise ValueError(f"hourglass: a hierarchy is written as '2@1 4@3 2@1', got {hierarchy!r}")
    if levels != levels[::-1] or len(levels) % 2 == 0 or levels[0][1] != 1:
        raise ValueError(f"hourglass: {hierarchy!r} must be the same read backwards and begin with a factor of 1")
    down = levels[: len(levels) // 2 + 1]
    for (_, wide), (_, narrow) in pairwise(down):
        if narrow <= wide or narrow % wide:
            raise ValueError(f"hourglass: {narrow} is no multiple of {wide} in {hierarchy!r}")
    if any(layers < 1 for layers, _ in levels):
        raise ValueError(f"hourglass: each level has at least one layer, got {hierarchy!r}")

    def layers(count: int) -> list[Mixer]:
        return [column(f"({pattern})*{count}", dim, norm=norm, **makers)]

    middle = Stack(layers(down[-1][0]))
    for (count, wide), (_, narrow) in reversed(list(pairwise(down))):
        valley = Hourglass(dim, middle, narrow // wide, resample=resample, look_down=look_down, look_up=look_up)
        middle = Stack([*layers(count), valley, *layers(count)])
    return middle
