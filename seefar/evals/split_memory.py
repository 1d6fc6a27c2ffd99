"""What a rank keeps of a transformer layer whose tokens, or whose heads, are shared among ranks, and how long it lets
a sequence be.

B rows, L tokens, D channels, H heads, P ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from seefar.distributed import Ranks, on_ranks, ring_self_attention

Split = Literal["tokens", "heads"]
Attend = Callable[..., Tensor]


class Layer(nn.Module):
    """BERT's layer, x <- norm(x + attention(x)), x <- norm(x + mlp(x)), as one rank holds it.

    Args:
        attend: from q, k and v, (B, heads here, N, d), to the output.
        ways: in which heads and hidden channels are shared (tensor parallelism); the sums over ranks, which change no
            size, are left out.
    """

    def __init__(self, dim: int, heads: int, attend: Attend, ways: int = 1) -> None:
        super().__init__()
        if heads % ways:
            raise ValueError(f"Layer: {ways} ranks cannot share {heads} heads evenly")
        self.heads, self.attend = heads // ways, attend
        self.qkv, self.out = nn.Linear(dim, 3 * dim // ways), nn.Linear(dim // ways, dim)
        self.norm, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim // ways), nn.GELU(), nn.Linear(4 * dim // ways, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D), N tokens of this rank."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(2, 0).transpose(2, 3)
        x = self.norm(x + self.out(self.attend(q, k, v).transpose(1, 2).flatten(2)))
        out: Tensor = self.norm_mlp(x + self.mlp(x))
        return out


def held(split: Split, ranks: int, length: int, dim: int, heads: int) -> int:
    """Bytes that one rank keeps of one layer and row for the backward, weights left out.

    Tokens are shared by ring self-attention on as many threads; a share of heads needs no other rank to be measured.
    """

    def run(group: Ranks) -> int:
        torch.manual_seed(0)
        attend = partial(ring_self_attention, ranks=group)
        layer = Layer(dim, heads, attend, ranks if split == "heads" else 1)
        x = torch.randn(1, length // group.world, dim)
        return kept_bytes(lambda: layer(x), {p.untyped_storage().data_ptr() for p in layer.parameters()})

    return on_ranks(1 if split == "heads" else ranks, run, where="threads")[0]


def kept_bytes(call: Callable[[], object], without: set[int]) -> int:
    """Bytes that autograd keeps after a forward, each memory counted once; some, by address, not at all."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in without:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = call()  # holds the graph, so that no address is used twice
    del result
    return sum(kept.values())


@dataclass(frozen=True)
class Law:
    """Bytes of one layer and row: a L D + b L D / P + c H L^2 / P.

    Args:
        whole, shared, scores: a, b and c.
        error: the largest relative difference from what was measured.
    """

    whole: float
    shared: float
    scores: float
    error: float

    def __call__(self, ranks: int, length: float, dim: int, heads: int) -> float:
        whole, shared, scores = _terms(ranks, length, dim, heads)
        return self.whole * whole + self.shared * shared + self.scores * scores


def fit_law(measured: Mapping[tuple[int, int], int], dim: int, heads: int) -> Law:
    """The law through bytes by (ranks, length), errors relative.

    Raises:
        ValueError: fewer than three measurements.
    """
    if len(measured) < 3:
        raise ValueError(f"fit_law: three terms need three measurements, got {len(measured)}")
    wanted = torch.tensor(list(measured.values()), dtype=torch.float64)
    rows = torch.tensor([_terms(ranks, length, dim, heads) for ranks, length in measured], dtype=torch.float64)
    rows = rows / wanted[:, None]
    ones = torch.ones_like(wanted)
    factors = torch.linalg.lstsq(rows, ones[:, None]).solution[:, 0]
    whole, shared, scores = factors.tolist()
    return Law(whole, shared, scores, float((rows @ factors - ones).abs().max()))


@dataclass(frozen=True)
class Machine:
    """What is to be trained, and on what: BERT-base on a card of 16 GB by default.

    What a layer needs for a moment alone is left out: some scores of one layer in twelve, on both sides.

    Args:
        words: in the vocabulary.
        state: bytes of a parameter with its gradient and Adam's moments.
    """

    bytes: float = 16e9
    layers: int = 12
    dim: int = 768
    heads: int = 12
    words: int = 30522
    state: int = 16

    def weights(self, ways: int) -> float:
        """Bytes of all parameters of one rank."""
        return self.state * self.dim * (12 * self.layers * self.dim + self.words) / ways

    def longest(self, split: Split, ranks: int, law: Law, rows: int) -> int:
        """The longest sequence that the ranks can train on; a split by heads has no use for more ranks than those."""
        ways = max(n for n in range(1, min(ranks, self.heads) + 1) if self.heads % n == 0)
        ranks, ways = (ways, ways) if split == "heads" else (ranks, 1)

        def fits(length: int) -> bool:
            kept = law(ranks, length, self.dim, self.heads)
            return self.weights(ways) + rows * self.layers * kept <= self.bytes

        low, high = 0, 1
        while fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def times_longer(self, laws: Mapping[Split, Law], ranks: int, rows: int) -> float:
        """The longest sequence of a split by tokens over that of a split by heads."""
        lengths = [self.longest(split, ranks, laws[split], rows) for split in ("tokens", "heads")]
        return lengths[0] / lengths[1]

    def largest(self, split: Split, ranks: int, law: Law, length: int) -> int:
        """The most rows of a given length."""
        rows = 0
        while self.longest(split, ranks, law, rows + 1) >= length:
            rows += 1
        return rows


def measured_law(split: Split, ranks: Sequence[int], lengths: Sequence[int], dim: int, heads: int) -> Law:
    """The law through measurements at all of these."""
    return fit_law({(n, length): held(split, n, length, dim, heads) for n in ranks for length in lengths}, dim, heads)


def _terms(ranks: int, length: float, dim: int, heads: int) -> tuple[float, float, float]:
    return length * dim, length * dim / ranks, heads * length**2 / ranks
