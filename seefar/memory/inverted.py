"""Inverted lists: vectors in groups of neighbours, so that a search looks into the few groups near its query alone.

n vectors, D their width, Q queries, C lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inverted:
    """How a ``VectorIndex`` groups its vectors, and how many groups a search looks into.

    A search costs 2 D (lists + n probes / lists + n strays) per query where the lists are alike long, instead of 2 D n.

    Args:
        lists: C; some n / 128 of them suit n vectors.
        probes: lists that a query looks into, those whose centres have the largest product with it; more of them where
            these hold fewer vectors than are asked for.
        strays: share of all vectors that every search looks at: those farthest from the centre of their list. What is
            unlike all else may be just what is sought, and a list says nothing of it.
        rounds: of k-means.
        sample: vectors for each list that k-means sees; the others are only assigned.
        seed: of the centres it begins with.

    Raises:
        ValueError: sizes that cannot be.
    """

    lists: int
    probes: int = 32
    strays: float = 0.005
    rounds: int = 5
    sample: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.lists, self.probes, self.sample) < 1 or self.rounds < 0:
            raise ValueError(
                f"Inverted: lists, probes and sample must be at least 1 and rounds not negative, got {self}"
            )
        if not 0 <= self.strays <= 1:
            raise ValueError(f"Inverted: strays is a share in [0, 1], got {self.strays}")
        if self.probes > self.lists:
            raise ValueError(
                f"Inverted: probes={self.probes} lists of {self.lists} cannot be; give at most {self.lists}"
            )


def k_means(vectors: Tensor, count: int, *, rounds: int = 10, seed: int = 0) -> Tensor:
    """Centres (count, D) of groups of vectors (n, D), each vector in that of the nearest centre (Lloyd's algorithm).

    A group that loses all its vectors takes up the one that is farthest from its centre.

    Raises:
        ValueError: fewer vectors than groups.
    """
    if not 1 <= count <= len(vectors):
        raise ValueError(f"k_means: {len(vectors)} vectors make 1 to {len(vectors)} groups, got {count}")
    generator = torch.Generator().manual_seed(seed)
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)].clone()
    for _ in range(rounds):
        group, far = nearest(vectors, centres)
        sizes = torch.bincount(group, minlength=count)
        empty = (sizes == 0).nonzero()[:, 0]
        if len(empty):
            lonely = far.topk(len(empty)).indices
            sizes -= torch.bincount(group[lonely], minlength=count)
            group[lonely] = empty
            sizes[empty] += 1
        centres = torch.zeros_like(centres).index_add_(0, group, vectors) / sizes.clamp(min=1)[:, None]
    return centres


def nearest(vectors: Tensor, centres: Tensor, *, at_once: int = 2**22) -> tuple[Tensor, Tensor]:
    """(n,) which centre is nearest to each vector, and (n,) the square of how far it is; O(``at_once``) memory."""
    half = centres.square().sum(1) / 2
    groups, far = [], []
    for some in vectors.split(max(1, at_once // len(centres))):
        best = (some @ centres.mT - half).max(1)
        groups.append(best.indices)
        far.append(some.square().sum(1) - 2 * best.values)
    return torch.cat(groups), torch.cat(far)
