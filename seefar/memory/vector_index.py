"""An index of vectors: those whose inner product with a query is largest, by looking at all or at few of them.

n vectors, D their width, Q queries, k found for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seefar.memory.inverted import Inverted, k_means, nearest

AT_ONCE = 2**22
"""Products of queries and vectors that a search holds at once."""


class Found(NamedTuple):
    """What a search found, best first.

    Args:
        scores_Qk: inner products. numbers_Qk: int64, of the vectors, by the order in which they were added.
    """

    scores_Qk: Tensor
    numbers_Qk: Tensor


class VectorIndex:
    """Vectors by number, found by their inner product with a query.

    Without ``inverted`` a search looks at every vector, 2 D operations each, and holds O(Q k) numbers beside a block of
    products: its memory does not grow with n. With it, ``build`` sorts what was added into lists and a search looks
    into few of them; what is added later is looked at by every search until ``build`` is called again. For cosines add
    and ask with vectors of length one.

    Args:
        dim: D.
        inverted: how to group the vectors; None to look at all.
        room: vectors to hold memory for from the start, so that nothing is copied as they come.
        dtype: in which they are held; queries are brought to it.
        device: where they are held.

    Raises:
        ValueError: vectors of another width, or none that are finite; more asked for than are held; a file of another
            kind.

    Example:
        >>> index = VectorIndex(2)
        >>> index.add([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
        >>> index.search([[1.0, 0.1]], 2).numbers_Qk.tolist()
        [[2, 0]]

    Reference: inverted lists: Jégou et al., 2011, as in faiss (arXiv 1702.08734). Differs: vectors are held whole, not
    as codes.
    """

    def __init__(
        self,
        dim: int,
        *,
        inverted: Inverted | None = None,
        room: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if dim < 1 or room < 0:
            raise ValueError(f"VectorIndex: dim must be at least 1 and room not negative, got {dim=}, {room=}")
        self.dim, self.inverted = dim, inverted
        self._held = torch.empty(room, dim, dtype=dtype, device=device)
        self._count = 0
        self._forget_lists()

    def __len__(self) -> int:
        return self._count

    @property
    def built(self) -> int:
        """How many of the vectors ``build`` has sorted."""
        return len(self._number)

    def add(self, vectors: Any) -> None:
        """Hold vectors (n, D), a tensor, an array or rows of numbers; they get the next numbers."""
        fresh = self._checked("add", vectors)
        if (needed := self._count + len(fresh)) > len(self._held):
            grown = self._held.new_empty(max(needed, len(self._held) * 3 // 2), self.dim)
            grown[: self._count] = self._held[: self._count]
            self._held = grown
        self._held[self._count : needed] = fresh
        self._count = needed

    def take(self, numbers: Tensor) -> Tensor:
        """The vectors (..., D) of these numbers (...) int64."""
        if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < self._count:
            raise ValueError(
                f"VectorIndex: numbers go from 0 to {self._count - 1}, got {int(numbers.min())} to {int(numbers.max())}"
            )
        return self._held[self._row_of(numbers.to(self._held.device))]

    def build(self) -> None:
        """Sort all vectors into lists, where there are to be any; needs memory for them twice while it runs."""
        if self.inverted is None or self.built == self._count:
            return
        vectors, how = self.take(torch.arange(self._count)), self.inverted
        lists = min(how.lists, self._count)
        generator = torch.Generator().manual_seed(how.seed)
        some = torch.randperm(self._count, generator=generator)[: how.sample * lists].to(vectors.device)
        self._centres = k_means(vectors[some], lists, rounds=how.rounds, seed=how.seed)
        group, far = nearest(vectors, self._centres)
        strays = far.topk(int(how.strays * self._count)).indices
        group[strays] = lists  # after all lists
        self._number = group.argsort(stable=True)
        self._row = torch.empty_like(self._number)
        self._row[self._number] = torch.arange(self._count, device=self._row.device)
        self._ends = torch.bincount(group, minlength=lists)[:lists].cumsum(0).cpu()
        self._held[: self._count] = vectors[self._number]

    def search(self, queries: Any, k: int) -> Found:
        """The k best for each of queries (Q, D); exact, or of the lists that were looked into."""
        asked = self._checked("search", queries)
        if not 1 <= k <= self._count:
            raise ValueError(f"VectorIndex: holds {self._count} vectors, so k must be 1 to {self._count}, got {k}")
        return self._among(asked, k) if self.built else self._all(asked, k)

    def save(self, path: str | Path) -> None:
        """Write vectors and lists to one safetensors file."""
        from safetensors.torch import save_file

        held = {"vectors": self._held[: self._count].clone(), "number": self._number, "ends": self._ends}
        save_file(held | {"centres": self._centres}, path, metadata={"kind": "seefar.memory.VectorIndex"})

    def load(self, path: str | Path) -> None:
        """Take up what ``save`` wrote, in place of what is held."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("kind") != "seefar.memory.VectorIndex":
                raise ValueError(f"VectorIndex: {path} holds no VectorIndex; give a file that its save wrote")
            saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if saved["vectors"].shape[1] != self.dim:
            raise ValueError(f"VectorIndex: {path} holds vectors of width {saved['vectors'].shape[1]}, not {self.dim}")
        if len(saved["number"]) and self.inverted is None:
            raise ValueError(f"VectorIndex: {path} holds lists; make the index with `inverted`")
        device = self._held.device
        self._held = saved["vectors"].to(device, self._held.dtype)
        self._count = len(self._held)
        self._number, self._ends = saved["number"].to(device), saved["ends"]
        self._centres = saved["centres"].to(device, self._held.dtype)
        self._row = torch.empty_like(self._number)
        self._row[self._number] = torch.arange(len(self._number), device=device)

    def _forget_lists(self) -> None:
        none = torch.empty(0, dtype=torch.int64, device=self._held.device)
        self._number, self._row, self._ends = none, none.clone(), none.cpu()
        self._centres = self._held.new_empty(0, self.dim)

    def _checked(self, what: str, vectors: Any) -> Tensor:
        given = vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.asarray(vectors))
        if given.ndim != 2 or given.shape[1] != self.dim:
            raise ValueError(f"VectorIndex: {what} takes vectors (n, {self.dim}), got {tuple(given.shape)}")
        given = given.detach().to(self._held.device, self._held.dtype)
        if not given.isfinite().all():
            raise ValueError(f"VectorIndex: {what} was given a vector that is NaN or infinite; leave it out")
        return given

    def _row_of(self, numbers: Tensor) -> Tensor:
        """Where the vectors of these numbers are held; those not in lists are at their number."""
        if not self.built:
            return numbers
        return torch.where(numbers < self.built, self._row[numbers.clamp(max=self.built - 1)], numbers)

    def _number_of(self, rows: Tensor) -> Tensor:
        if not self.built:
            return rows
        return torch.where(rows < self.built, self._number[rows.clamp(max=self.built - 1)], rows)

    def _all(self, asked: Tensor, k: int) -> Found:
        best = Found(asked.new_empty(len(asked), 0), self._number.new_empty(len(asked), 0))
        step = max(1, AT_ONCE // max(1, len(asked)))
        for start in range(0, self._count, step):
            scores = asked @ self._held[start : min(start + step, self._count)].mT
            scores, at = scores.topk(min(k, scores.shape[1]), dim=1)
            scores, at = torch.cat([best.scores_Qk, scores], 1), torch.cat([best.numbers_Qk, at + start], 1)
            scores, order = scores.topk(min(k, scores.shape[1]), dim=1)
            best = Found(scores, at.gather(1, order))
        return best

    def _among(self, asked: Tensor, k: int) -> Found:
        """Each query looks into the lists whose centres suit it best, and at all that is in no list."""
        assert self.inverted is not None
        ranked = (asked @ self._centres.mT).argsort(1, descending=True).cpu()
        bounds = [0, *self._ends.tolist()]
        spare = (bounds[-1], self._count)
        held = self._ends.diff(prepend=self._ends.new_zeros(1))[ranked].cumsum(1) + spare[1] - spare[0]
        enough = (held < k).sum(1) + 1
        found = []
        for query, lists, least in zip(asked, ranked, enough.tolist(), strict=True):
            some = lists[: max(self.inverted.probes, least)].tolist()
            spans = [(bounds[i], bounds[i + 1]) for i in some] + [spare]
            scores, at = torch.cat([self._held[a:b] @ query for a, b in spans]).topk(k)
            lengths = torch.tensor([b - a for a, b in spans])
            shift = torch.tensor([a for a, _ in spans]) - (lengths.cumsum(0) - lengths)
            rows = at.cpu() + shift[torch.searchsorted(lengths.cumsum(0), at.cpu(), right=True)]
            found.append((scores, self._number_of(rows.to(self._held.device))))
        scores_Qk, numbers_Qk = (torch.stack(part) for part in zip(*found, strict=True))
        return Found(scores_Qk, numbers_Qk)
