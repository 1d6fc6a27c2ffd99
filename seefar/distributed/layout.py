"""Which tokens of a sequence which rank holds, and which of them meet when no query may see a later key.

Work is even among ranks when the tokens of each are spread over the whole sequence: early ones see little, late ones
much. P ranks, n tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Meeting(NamedTuple):
    """Queries of one rank with keys of another, as one call of attention.

    Args:
        rows: of the queries, and columns: of the keys, that take part.
        causal: query i of these sees the keys up to i; else all.
    """

    rows: slice
    columns: slice
    causal: bool

    def pairs(self, n: int) -> int:
        """Pairs of query and key that meet, of n each."""
        rows, columns = (len(range(n)[part]) for part in (self.rows, self.columns))
        return rows * (rows + 1) // 2 if self.causal else rows * columns


ALL = Meeting(slice(None), slice(None), False)
UP_TO_OWN = Meeting(slice(None), slice(None), True)


class Layout(Protocol):
    """A rank's own tokens are in the order of the sequence."""

    def places(self, n: int, world: int) -> Tensor:
        """(P, n) int64: where in the sequence each token of each rank stands."""
        ...

    def meeting(self, queries: int, keys: int, n: int) -> Meeting | None:
        """What the queries of one rank see of the keys of another when attention is causal; None for nothing."""
        ...


@dataclass(frozen=True)
class Contiguous:
    """Rank r holds the r-th of P pieces. The last rank works 2P - 1 times as long as the first."""

    def places(self, n: int, world: int) -> Tensor:
        return torch.arange(world * n).view(world, n)

    def meeting(self, queries: int, keys: int, n: int) -> Meeting | None:
        if keys > queries:
            return None
        return UP_TO_OWN if keys == queries else ALL


@dataclass(frozen=True)
class Zigzag:
    """Rank r holds the r-th of 2P pieces from the start and the r-th from the end; every rank works equally long.

    Reference: the layout of Llama 3's and of zhuzilin's ring-flash-attention.
    """

    def places(self, n: int, world: int) -> Tensor:
        if n % 2:
            raise ValueError(f"Zigzag: each rank holds two pieces of one length, got {n} tokens; pad the sequence")
        pieces = torch.arange(world * n).view(2 * world, n // 2)
        return torch.cat([pieces[:world], pieces[world:].flip(0)], 1)

    def meeting(self, queries: int, keys: int, n: int) -> Meeting | None:
        if keys == queries:
            return UP_TO_OWN
        half = n // 2
        if keys < queries:  # its early piece is before both of mine, its late one after both
            return Meeting(slice(None), slice(0, half), False)
        return Meeting(slice(half, None), slice(None), False)


@dataclass(frozen=True)
class Striped:
    """Rank r holds every P-th token from the r-th on; work differs by the diagonal alone.

    Reference: Brandon et al., Striped Attention, arXiv 2311.09431.
    """

    def places(self, n: int, world: int) -> Tensor:
        return torch.arange(world * n).view(n, world).mT.contiguous()

    def meeting(self, queries: int, keys: int, n: int) -> Meeting | None:
        if keys <= queries:
            return UP_TO_OWN
        return Meeting(slice(1, None), slice(0, n - 1), True) if n > 1 else None


def deal(x: Tensor, world: int, layout: Layout, dim: int = 2) -> list[Tensor]:
    """What each rank holds of a sequence.

    Raises:
        ValueError: tokens that the ranks cannot share evenly.

    Example:
        >>> [piece.tolist() for piece in deal(torch.arange(8), 2, Zigzag(), 0)]
        [[0, 1, 6, 7], [2, 3, 4, 5]]
    """
    if x.shape[dim] % world:
        raise ValueError(
            f"deal: {world} ranks cannot share {x.shape[dim]} tokens evenly; pad them, and give the padding a segment "
            "of its own"
        )
    places = layout.places(x.shape[dim] // world, world).to(x.device)
    return [x.index_select(dim, own) for own in places]


def collect(pieces: Sequence[Tensor], layout: Layout, dim: int = 2) -> Tensor:
    """The sequence again, from what each rank holds, rank 0 first."""
    places = layout.places(pieces[0].shape[dim], len(pieces)).to(pieces[0].device)
    return torch.cat(list(pieces), dim).index_select(dim, places.flatten().argsort())


def pairs(layout: Layout, n: int, world: int) -> list[int]:
    """The pairs of query and key that each rank works through in causal attention: its work, but for a factor."""
    meetings = [[layout.meeting(rank, source, n) for source in range(world)] for rank in range(world)]
    return [sum(m.pairs(n) for m in row if m is not None) for row in meetings]
