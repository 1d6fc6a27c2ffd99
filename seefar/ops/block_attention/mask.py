"""Who may see whom, as a list of kept blocks: for each block of queries the blocks of keys that it meets.

Nothing here is ever of size N x M but ``dense()``, which is for tests and for the reference.

N queries, M keys, n and m the height and width of a block, R blocks of queries, K kept blocks at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor], Tensor]
"""``rule(queries, keys)``: whether they may meet, from their places, which broadcast."""

AT_ONCE = 2**20
"""Numbers of a temporary tensor, where several blocks of queries are worked on together."""


@dataclass(frozen=True, eq=False)
class BlockMask:
    """The pairs of queries and keys that meet: kept blocks, and inside them a rule.

    A pair meets if its block is kept, the key is not after the query (where ``causal``), and the rule allows it.
    Query i stands at place M - N + i, so that a cache of earlier keys may be put in front. Lengths need not be
    multiples of a block. Make one with ``local``, ``strided``, ``fixed``, ``butterfly`` or ``listed``.

    Args:
        N: queries.
        M: keys.
        block: (n, m).
        kept: (B or 1, H or 1, R, K) int64, key blocks of each query block, rising, no block twice, -1 after the last.
        causal: no query meets a key after its place.
        rule: on places; None allows all of a kept block.
        order: (N,) queries and (M,) keys in the order in which they are cut into blocks; None for that of their places.

    Raises:
        ValueError: sizes that are not positive, or a list that does not fit them.
    """

    N: int
    M: int
    block: tuple[int, int]
    kept: Tensor
    causal: bool = True
    rule: Rule | None = None
    order: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        _positive(N=self.N, M=self.M, height=self.block[0], width=self.block[1])
        if self.kept.ndim != 4 or self.kept.shape[2] != self.rows or self.kept.dtype != torch.int64:
            raise ValueError(
                f"BlockMask: kept must be (B, H, R, K) int64 with R = {self.rows} blocks of {self.block[0]} of "
                f"{self.N} queries, got {tuple(self.kept.shape)} {self.kept.dtype}"
            )
        if self.kept.numel() and not -1 <= int(self.kept.min()) <= int(self.kept.max()) < self.columns:
            raise ValueError(
                f"BlockMask: {self.M} keys are {self.columns} blocks of {self.block[1]}, and -1 stands for none; got "
                f"blocks from {int(self.kept.min())} to {int(self.kept.max())}"
            )

    @property
    def rows(self) -> int:
        """Blocks of queries, R."""
        return -(-self.N // self.block[0])

    @property
    def columns(self) -> int:
        """Blocks of keys."""
        return -(-self.M // self.block[1])

    @cached_property
    def counts(self) -> list[int]:
        """Kept blocks of each block of queries, the most of any head."""
        counts: list[int] = (self.kept >= 0).sum(-1).amax((0, 1)).tolist()
        return counts

    @property
    def computed(self) -> int:
        """Pairs in kept blocks, met or not, over the heads of ``kept``: what attention over blocks has to compute."""
        return int((self.kept >= 0).sum()) * self.block[0] * self.block[1]

    @property
    def pairs_per_row(self) -> Tensor:
        """(B or 1, H or 1, N) keys that each query meets."""
        found = [
            self.allowed(rows, count).sum(-1).flatten(2)  # (B, H, r n)
            for rows, count in self.strips(1, 1)
        ]
        counts = torch.cat(found, 2)[:, :, : self.N]
        return counts if self.order is None else torch.empty_like(counts).index_copy_(2, self.order[0], counts)

    @property
    def pairs(self) -> int:
        """Pairs that meet, over the heads of ``kept``."""
        return int(self.pairs_per_row.sum())

    @property
    def density(self) -> float:
        """Share of all N x M pairs that meet."""
        return self.pairs / (self.kept.shape[0] * self.kept.shape[1] * self.N * self.M)

    def dense(self) -> Tensor:
        """(B or 1, H or 1, N, M) bool, all of it."""
        mask = torch.zeros((*self.kept.shape[:2], self.rows * self.block[0], self.M + 1), dtype=torch.bool)
        for rows, count in self.strips(1, 1):
            allowed = self.allowed(rows, count).cpu()
            index, there = self._keys(rows, count)
            index = index.masked_fill(~there, self.M).cpu()[..., None, :].expand_as(allowed)
            strip = slice(rows.start * self.block[0], rows.stop * self.block[0])
            mask[:, :, strip] = mask[:, :, strip].scatter(-1, index.flatten(2, 3), allowed.flatten(2, 3))
        mask = mask[:, :, : self.N, : self.M]
        if self.order is None:
            return mask
        queries, keys = (torch.argsort(order.cpu()) for order in self.order)
        return mask[:, :, queries][..., keys]

    def strips(self, heads: int, width: int) -> Iterator[tuple[slice, int]]:
        """Blocks of queries to work on together, and how many kept blocks the fullest of them has.

        Args:
            heads: that are worked on at once.
            width: of a head, as the keys of each block of queries are gathered.
        """
        start, (n, m) = 0, self.block
        while start < self.rows:
            stop, most = start + 1, self.counts[start]
            while stop < self.rows:
                wider = max(most, self.counts[stop])
                if (stop + 1 - start) * wider * m * heads * max(n, width) > AT_ONCE:
                    break
                stop, most = stop + 1, wider
            yield slice(start, stop), most
            start = stop

    def allowed(self, rows: slice, count: int) -> Tensor:
        """(B or 1, H or 1, r, n, count m) which pairs of some blocks of queries and their first kept blocks meet."""
        index, there = self._keys(rows, count)
        keys = index if self.order is None else self.order[1].to(index.device)[index]
        n = self.block[0]
        queries = torch.arange(rows.start * n, rows.stop * n, device=index.device).clamp_(max=self.N - 1)
        if self.order is not None:
            queries = self.order[0].to(index.device)[queries]
        queries = (queries + self.M - self.N).view(-1, n, 1)
        keys, allowed = keys[..., None, :], there[..., None, :]
        if self.causal and keys.numel() and int(keys.max()) > int(queries.min()):
            allowed = allowed & (keys <= queries)
        if self.rule is not None:
            allowed = allowed & self.rule(queries, keys)
        return allowed.expand(*allowed.shape[:3], n, -1)

    def _keys(self, rows: slice, count: int) -> tuple[Tensor, Tensor]:
        """(.., r, count m) keys of the kept blocks in the order of blocks, and whether there is such a key."""
        kept = self.kept[:, :, rows, :count, None]
        index = kept * self.block[1] + torch.arange(self.block[1], device=kept.device)
        there = (kept >= 0) & (index < self.M)
        return index.clamp_(0, self.M - 1).flatten(3), there.flatten(3)

    @classmethod
    def local(cls, N: int, M: int | None = None, *, window: int, block: int = 64, causal: bool = True) -> BlockMask:
        """A query meets keys less than ``window`` away: itself and the window - 1 before it when causal."""
        M = _keys_at(N, M, block=block, window=window)
        first, last = _places(N, M, block)
        stop = last + 1 if causal else (last + window).clamp_(max=M)
        kept = _between((first - window + 1).clamp_(min=0), stop, block)
        return cls(N, M, (block, block), kept, causal, lambda q, k: (q - k).abs() < window)

    @classmethod
    def strided(cls, N: int, M: int | None = None, *, stride: int, block: int = 64, causal: bool = True) -> BlockMask:
        """A query meets the keys that stand a multiple of ``stride`` away, itself among them.

        Blocks are cut from the tokens in the order of (place mod stride, place), column by column of a picture
        ``stride`` wide: there a query meets all of a stretch, where in the order of places a block would hold one
        diagonal of pairs that meet among n x m that are computed.
        """
        M = _keys_at(N, M, block=block, stride=stride)
        place, column = torch.arange(M - N, M), torch.arange(stride)
        order = _by_column(place, stride), _by_column(torch.arange(M), stride)
        sizes = (M - column + stride - 1).div(stride, rounding_mode="floor").clamp_(min=0)
        starts = sizes.cumsum(0) - sizes
        rows = torch.arange(0, N, block)
        first, last = place[order[0][rows]], place[order[0][(rows + block - 1).clamp_(max=N - 1)]]
        seen = last // stride + 1 if causal else sizes[last % stride]
        kept = _between(starts[first % stride], starts[last % stride] + seen, block)
        return cls(N, M, (block, block), kept, causal, lambda q, k: (q - k) % stride == 0, order)

    @classmethod
    def fixed(
        cls, N: int, M: int | None = None, *, stride: int, columns: int = 1, block: int = 64, causal: bool = True
    ) -> BlockMask:
        """A query meets the keys of its own stretch of ``stride``, and the last ``columns`` of every stretch.

        Raises:
            ValueError: a stretch has fewer columns than asked for, besides the errors of all masks.
        """
        M = _keys_at(N, M, block=block, stride=stride, columns=columns)
        if columns > stride:
            raise ValueError(f"BlockMask.fixed: a stretch of {stride=} has no {columns} columns; columns <= stride")
        first, last = _places(N, M, block)
        stop = last + 1 if causal else (last // stride * stride + stride).clamp_(max=M)
        own = _between(first // stride * stride, stop, block)[0, 0]
        ends = torch.arange(0, M, stride)[:, None] + torch.arange(stride - columns, stride)
        summary = (ends[ends < M] // block).unique()
        late = causal & (summary * block >= stop[:, None])
        kept = _packed(torch.cat([own, summary.expand(len(own), -1).masked_fill(late, -1)], 1))

        def rule(q: Tensor, k: Tensor) -> Tensor:
            return (k // stride == q // stride) | (k % stride >= stride - columns)

        return cls(N, M, (block, block), kept[None, None], causal, rule)

    @classmethod
    def butterfly(cls, N: int, *, block: int = 64, causal: bool = True) -> BlockMask:
        """Block i meets itself and the blocks i xor 1, 2, 4, ...: all pairs are joined in log2(N / block) hops.

        Reference: Dao et al., FlashAttention, arXiv 2205.14135, section 3.3.
        """
        _keys_at(N, N, block=block)
        rows = torch.arange(-(-N // block))
        steps = 2 ** torch.arange(max(1, (len(rows) - 1).bit_length()))
        met = torch.cat([rows[:, None], rows[:, None] ^ steps], 1)
        beyond = (met >= len(rows)) | (causal & (met > rows[:, None]))
        return cls(N, N, (block, block), _packed(met.masked_fill(beyond, -1))[None, None], causal)

    @classmethod
    def listed(
        cls, kept: Tensor, N: int, M: int | None = None, *, block: tuple[int, int], causal: bool = True
    ) -> BlockMask:
        """The key blocks that something else has chosen for each block of queries, in any order.

        Args:
            kept: (B or 1, H or 1, R, K) int64, -1 where there is none; a block named twice counts once.
            N: queries.
            M: keys; as many when left out.
            block: (n, m).
            causal: no query meets a key after its place.
        """
        return cls(N, N if M is None else M, block, _packed(kept), causal)


def _positive(**sizes: int) -> None:
    wrong = {name: size for name, size in sizes.items() if isinstance(size, bool) or size < 1}
    if wrong:
        raise ValueError(f"BlockMask: sizes must be at least 1, got {', '.join(f'{k}={v}' for k, v in wrong.items())}")


def _keys_at(N: int, M: int | None, **sizes: int) -> int:
    M = N if M is None else M
    _positive(N=N, M=M, **sizes)
    if M < N:
        raise ValueError(f"BlockMask: the last query stands at the last key, so {N} queries need as many keys, got {M}")
    return M


def _places(N: int, M: int, block: int) -> tuple[Tensor, Tensor]:
    """The first and the last place of each block of queries."""
    first = torch.arange(M - N, M, block)
    return first, (first + block - 1).clamp_(max=M - 1)


def _by_column(place: Tensor, stride: int) -> Tensor:
    return torch.argsort(place % stride, stable=True)


def _between(first: Tensor, stop: Tensor, block: int) -> Tensor:
    """(1, 1, R, K) the blocks that hold keys first ... stop - 1 of each row."""
    low, high = first // block, (stop - 1) // block
    blocks = low[:, None] + torch.arange(int((high - low).max()) + 1)
    return blocks.masked_fill(blocks > high[:, None], -1)[None, None]


def _packed(kept: Tensor) -> Tensor:
    """Each row in rising order, nothing twice, -1 at its end, no more columns than the fullest row needs."""
    none = torch.iinfo(torch.int64).max
    rising = kept.masked_fill(kept < 0, none).sort(-1).values
    again = torch.zeros_like(rising, dtype=torch.bool)
    again[..., 1:] = rising[..., 1:] == rising[..., :-1]
    if bool((again & (rising != none)).any()):
        rising = rising.masked_fill(again, none).sort(-1).values
    most = int((rising != none).sum(-1).max()) if rising.numel() else 0
    return rising[..., :most].masked_fill(rising[..., :most] == none, -1)
