"""Fewer tokens by joining those that resemble each other; nothing is left out, all mass stays.

``SimilarityMerge`` is the engine; a match object says who joins whom. B batch, N tokens, D channels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.compress.base import Compressor, check_budget
from seefar.sequence import VisualSequence

Match = Callable[[VisualSequence, int], Tensor]
"""``match(seq, budget)`` gives (B, N) groups for ``VisualSequence.merge``: one round, to ``budget`` groups at least."""

PAIRS_AT_ONCE = 2**24


class SimilarityMerge(Compressor):
    """Joins similar tokens into their mean, round after round, until each row fits the budget.

    With mass as weight the mean is that of all source tokens behind it, whatever the rounds:
    ``sum(mass * token) / sum(mass)``. Films of a packed row are never joined. Gradients flow to every source; the
    choice of who joins whom is not differentiated.

    Args:
        match: who joins whom in a round: ``Bipartite()`` or ``Adjacent()``.
        weight: "mass", or "mean" for the plain mean of what a round joins, as in AIM (arXiv 2412.03248), where a token
            that already stands for many counts no more than a fresh one.
        scope: "row" joins tokens anywhere in a row; "frame" those of one frame of the raster only, each frame down to
            budget // frames tokens.

    Raises:
        ValueError: a row holds more films than the budget has tokens; a token is NaN or infinite; what the match
            object refuses; with scope="frame" also tokens that are no raster any more, and a budget below one token a
            frame (the smallest possible one is named).
    """

    def __init__(self, match: Match, *, weight: str = "mass", scope: str = "row") -> None:
        super().__init__()
        if weight not in ("mass", "mean"):
            raise ValueError(f"SimilarityMerge: weight must be 'mass' or 'mean', got {weight!r}")
        if scope not in ("row", "frame"):
            raise ValueError(f"SimilarityMerge: scope must be 'row' or 'frame', got {scope!r}")
        self.match, self.weight, self.scope = match, weight, scope

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row; the query is not used."""
        check_budget("SimilarityMerge", budget)
        if self.scope == "row":
            return self._shrink(seq, budget)
        if seq.grid is None:
            raise ValueError(
                "SimilarityMerge: scope='frame' needs tokens that still are a raster; merge before selecting, "
                "or use scope='row'"
            )
        frames = seq.grid[0]
        if budget < frames:
            raise ValueError(
                f"SimilarityMerge: a budget of {budget} is below one token for each of the {frames} frames; "
                f"the smallest possible budget is {frames}"
            )
        if (seq.count <= budget).all():
            return seq
        return _regroup(self._shrink(_regroup(seq, len(seq.tokens) * frames), budget // frames), len(seq.tokens))

    def _shrink(self, seq: VisualSequence, budget: int) -> VisualSequence:
        if not seq.tokens[seq.mask].isfinite().all():
            raise ValueError(
                "SimilarityMerge: a token is NaN or infinite; nothing can be told about its likeness to others"
            )
        films = (seq.mask[:, :1].sum(1) + ((seq.segment.diff(dim=1) != 0) & seq.mask[:, 1:]).sum(1)).tolist()
        if films and max(films) > budget:
            raise ValueError(
                f"SimilarityMerge: a row holds {max(films)} films, which {budget} tokens cannot keep apart; "
                f"the smallest possible budget is {max(films)}"
            )
        while (seq.count > budget).any():
            merged = seq.merge(self.match(seq, budget), weight=self.weight)
            if len(merged) >= len(seq):
                raise ValueError(
                    f"SimilarityMerge: {self.match!r} joined nothing, {len(seq)} tokens are left of {budget}"
                )
            seq = merged
        return seq


def _regroup(seq: VisualSequence, rows: int) -> VisualSequence:
    """The same tokens in the same order, cut into that many rows of equal length."""
    names = ("tokens", "span", "box", "mass", "segment", "mask")
    return VisualSequence(**{name: (v := getattr(seq, name)).reshape(rows, -1, *v.shape[2:]) for name in names})


class Bipartite:
    """Bipartite soft matching of token merging (ToMe, Bolya et al., arXiv 2210.09461), one round a call.

    The tokens of a row go by turns into sets A (even places) and B (odd places). Each token of A finds the token of B
    of highest cosine; the r best of these pairs are joined, where r is what is above budget, but at most ``share`` of
    the row. Several tokens of A may join one of B. O(N^2 D) time; memory is bounded, because A is taken in slices.

    Args:
        share: largest share of a row's tokens to join in one round, in (0, 0.5]. Smaller means more rounds and better
            pairs; 0.5 is the most that the split allows.

    Differs:
        Compares the tokens themselves, not attention keys. Tokens stand in time order when the next round splits them;
        the reference code puts what is left of A before B.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 < share <= 0.5:
            raise ValueError(f"Bipartite: share must lie in (0, 0.5], got {share}")
        self.share = share

    def __call__(self, seq: VisualSequence, budget: int) -> Tensor:
        B, N, _ = seq.tokens.shape
        unit = F.normalize(seq.tokens.detach().to(torch.promote_types(seq.tokens.dtype, torch.float32)), dim=-1)
        own = torch.arange(N, device=unit.device).expand(B, N)
        best, partner = [], []
        step = max(1, PAIRS_AT_ONCE // (B * N))
        for start in range(0, N, 2 * step):
            a = slice(start, min(start + 2 * step, N), 2)
            likeness = unit[:, a] @ unit[:, 1::2].mT
            apart = (
                (seq.segment[:, a, None] != seq.segment[:, None, 1::2])
                | ~seq.mask[:, a, None]
                | ~seq.mask[:, None, 1::2]
            )
            score, to = likeness.masked_fill(apart, -torch.inf).max(-1)
            best.append(score)
            partner.append(2 * to + 1)
        score, to = torch.cat(best, 1), torch.cat(partner, 1)
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        most = (seq.count * self.share).long().clamp(min=1)
        joins = (rank < torch.minimum(seq.count - budget, most)[:, None]) & score.isfinite()
        group = own.clone()
        group[:, ::2] = torch.where(joins, to, own[:, ::2])
        return group


class Adjacent:
    """Joins the most similar pair of neighbours in time, again and again.

    The rule of the memory bank of MA-LMM (arXiv 2404.05726), applied to a film that is all there at once.
    While the tokens are a raster of H x W places, each place is a chain through time of its own, and is brought down to
    budget // (H * W) tokens independently of the others. Otherwise a row is one chain in its order. The likeness is
    the cosine of the mass-weighted means; of equal pairs the earlier one is joined. O(N (D + log N)) time.

    Raises:
        ValueError: the budget is below one token for each place of the raster.
    """

    def __call__(self, seq: VisualSequence, budget: int) -> Tensor:
        places = 1 if seq.grid is None else seq.grid[1] * seq.grid[2]
        if budget < places:
            raise ValueError(
                f"Adjacent: a budget of {budget} is below one token for each of the {places} places of the raster; "
                f"the smallest possible budget is {places}, or pool the frames first"
            )
        sums = (seq.tokens.detach().double() * seq.mass[..., None]).cpu().numpy()
        segments, counts = seq.segment.cpu().numpy(), seq.count.tolist()
        group = np.tile(np.arange(len(seq)), (len(counts), 1))
        for row, count in enumerate(counts):
            for place in range(places):
                chain = slice(place, count, places)
                joined = _join_chain(sums[row, chain], segments[row, chain], budget // places)
                group[row, chain] = group[row, chain][joined]
        return torch.from_numpy(group).to(seq.mask.device)


def _join_chain(sums: np.ndarray, segments: np.ndarray, left: int) -> np.ndarray:
    """For each link of a chain the first link of the run that it ends up in, when at most ``left`` runs may remain.

    Links are vectors of any length, because the cosine of two means is that of their sums. A heap holds the pairs;
    one whose either end has changed since is passed over when it comes up.
    """
    n = len(sums)
    sums, norms = sums.copy(), np.linalg.norm(sums, axis=1)
    before, after = np.arange(-1, n - 1), np.arange(1, n + 1)
    version = np.zeros(n, dtype=np.int64)
    home = np.arange(n)

    def pair(i: int) -> tuple[float, int, int, int]:
        j = int(after[i])
        scale = norms[i] * norms[j]
        return (-float(sums[i] @ sums[j]) / scale if scale > 0 else 0.0), i, int(version[i]), int(version[j])

    heap = [pair(i) for i in range(n - 1) if segments[i] == segments[i + 1]]
    heapq.heapify(heap)
    surplus = n - left
    while surplus > 0 and heap:
        _, i, version_i, version_j = heapq.heappop(heap)
        j = int(after[i])
        if home[i] != i or j >= n or version[i] != version_i or version[j] != version_j:
            continue
        sums[i] += sums[j]
        norms[i] = np.linalg.norm(sums[i])
        home[j] = i
        version[i] += 1
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
            if segments[i] == segments[after[i]]:
                heapq.heappush(heap, pair(i))
        if before[i] >= 0 and segments[before[i]] == segments[i]:
            heapq.heappush(heap, pair(int(before[i])))
        surplus -= 1
    for i in range(n):
        home[i] = home[home[i]]
    return home
