"""Fewer tokens by keeping some and leaving the rest: evenly, by relevance, or by novelty.

What is kept is kept unchanged and in its order; the mass of the rest is gone, visibly. While the tokens still are one
raster (``seq.grid``) whole frames are kept or left, unless single tokens are asked for.

B batch, N tokens, T frames, D channels, K kept.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.compress.base import Compressor, check_budget
from seefar.compress.relevance import Relevance
from seefar.sequence import VisualSequence

GOLDEN = (math.sqrt(5) - 1) / 2


class Uniform(Compressor):
    """Keeps frames that are evenly spaced, with all of their tokens: the middles of equal parts of the sequence.

    Of T frames the K = budget // (tokens a frame) frames ``floor((i + 1/2) T / K)``, i = 0 ... K-1. Spacing is by
    place in the sequence, as it is in the uniform sampling of published video models. Where the tokens are no raster,
    one token of each of ``budget`` equal parts of the row; its place within its part moves by the golden ratio from
    part to part, because a fixed step would hit the same place of the picture again and again.

    Raises:
        ValueError: the budget is below one frame of the raster; the smallest possible one is named.
    """

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row, evenly spaced; the query is not used."""
        check_budget("Uniform", budget)
        if fits(seq, budget):
            return seq
        if seq.grid is not None:
            T, K = seq.grid[0], whole_frames("Uniform", seq.grid, budget)
            middle = (2 * torch.arange(K, device=seq.mask.device) + 1) * T // (2 * K)
            return seq.take(_tokens_of(middle.expand(len(seq.tokens), K), seq.grid))
        i = torch.arange(budget, device=seq.mask.device)
        parts = seq.count.clamp(max=budget)[:, None]
        first, after = (-(-(j * seq.count[:, None]) // parts.clamp(min=1)) for j in (i, i + 1))
        place = ((0.5 + i.double() * GOLDEN) % 1 * (after - first)).long()
        return seq.take(torch.where(i < parts, first + place, -1))


class TopK(Compressor):
    """Keeps what has most to do with the question.

    Args:
        relevance: ``relevance(seq, query)`` gives a (B, N) score for each token; ``Cosine()`` is one.
        unit: "token" keeps the ``budget`` tokens of highest score; "frame" keeps the budget // (tokens a frame)
            frames whose best token has the highest score, with all of their tokens. Of equal scores the earlier one
            is kept.

    Raises:
        ValueError: a score is NaN or the scores are not (B, N); with unit="frame" also when the tokens are no raster
            any more, and when the budget is below one frame (the smallest possible one is named).
    """

    def __init__(self, relevance: Relevance, unit: str = "token") -> None:
        super().__init__()
        if unit not in ("token", "frame"):
            raise ValueError(f"TopK: unit must be 'token' or 'frame', got {unit!r}")
        self.relevance, self.unit = relevance, unit

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row: those of the highest scores."""
        check_budget("TopK", budget)
        if self.unit == "frame" and seq.grid is None:
            raise ValueError(
                "TopK: unit='frame' needs tokens that still are a raster; select before merging, or use 'token'"
            )
        if fits(seq, budget):
            return seq
        scores = self.relevance(seq, query)
        if scores.shape != seq.mask.shape:
            raise ValueError(f"TopK: relevance must give {tuple(seq.mask.shape)} scores, got {tuple(scores.shape)}")
        if scores[seq.mask].isnan().any():
            raise ValueError(
                f"TopK: {int(scores[seq.mask].isnan().sum())} scores are NaN; look at the relevance and its query"
            )
        scores = scores.detach().masked_fill(~seq.mask, -torch.inf)
        if self.unit == "token":
            return seq.take(scores.argsort(dim=1, descending=True, stable=True)[:, :budget])
        assert seq.grid is not None
        K = whole_frames("TopK", seq.grid, budget)
        frames = scores.unflatten(1, (seq.grid[0], -1)).amax(-1)
        return seq.take(_tokens_of(frames.argsort(dim=1, descending=True, stable=True)[:, :K], seq.grid))


class Novelty(Compressor):
    """Keeps what differs most from all that was kept before, so that a still picture is paid for once.

    Farthest-first traversal (Gonzalez 1985): the first frame is kept; then, again and again, the frame whose distance
    to the nearest kept frame is largest, the earlier one of equals. The largest distance (root of d) of a frame left
    out to the nearest kept one is at most twice that of the best choice of as many frames. A smaller budget keeps a
    subset.

        d(a, b) = mean over the places of the raster of (1 - cos(a_place, b_place))

    Where the tokens are no raster they are compared and kept one by one. Takes O(K N D) time and O(N D) memory.

    Args:
        least: stops when no distance left is above it, even below budget. The default takes rounding for no news; 0.01
            passes over noise.

    Raises:
        ValueError: the budget is below one frame of the raster (the smallest possible one is named); a token is NaN
            or infinite.
    """

    def __init__(self, least: float = 1e-5) -> None:
        super().__init__()
        if not least >= 0:
            raise ValueError(f"Novelty: least must be a distance of at least 0, got {least}")
        self.least = least

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row: the most novel ones; the query is not used."""
        check_budget("Novelty", budget)
        if not seq.tokens[seq.mask].isfinite().all():
            raise ValueError("Novelty: a token is NaN or infinite; nothing can be told about its distance to others")
        if not len(seq):
            return seq
        places = 1 if seq.grid is None else seq.grid[1] * seq.grid[2]
        K = budget if seq.grid is None else whole_frames("Novelty", seq.grid, budget)
        unit = F.normalize(seq.tokens.detach().to(torch.promote_types(seq.tokens.dtype, torch.float32)), dim=-1)
        frames, real = unit.reshape(len(unit), len(seq) // places, -1), seq.mask[:, ::places]
        kept = [torch.where(real[:, 0], 0, -1)]
        nearest = torch.where(real, torch.inf, -torch.inf).to(unit.dtype)
        size = frames.square().sum(-1)
        while len(kept) < K:
            last = kept[-1][:, None].clamp(min=0)
            newest = frames.gather(1, last[..., None].expand(-1, 1, frames.shape[2]))
            distance = ((size + size.gather(1, last)) / 2 - (frames @ newest.mT)[..., 0]) / places
            nearest = nearest.minimum(distance).scatter(1, last, -torch.inf)
            far, where = nearest.max(dim=1)
            if (far <= self.least).all():
                break
            kept.append(torch.where(far > self.least, where, -1))
        chosen = torch.stack(kept, 1)
        return seq.take(chosen if seq.grid is None else _tokens_of(chosen, seq.grid))


def fits(seq: VisualSequence, budget: int) -> bool:
    return bool((seq.count <= budget).all())


def whole_frames(who: str, grid: tuple[int, int, int], budget: int) -> int:
    """How many whole frames of the raster a budget pays for."""
    size = grid[1] * grid[2]
    if budget < size:
        raise ValueError(
            f"{who}: a budget of {budget} tokens is below one frame of {grid[1]} x {grid[2]}; "
            f"the smallest possible budget is {size}, or pool the frames first"
        )
    return budget // size


def _tokens_of(frames: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The positions of all tokens of the named frames (B, K), -1 for none."""
    size = grid[1] * grid[2]
    tokens = frames[..., None] * size + torch.arange(size, device=frames.device)
    return torch.where(frames[..., None] < 0, -1, tokens).flatten(1)
