"""Frames that matter without losing the rest of the film: bins halved until one holds the evidence, the best of each.

Between ``TopK``, which may spend the whole budget on one moment, and ``Uniform``, which may miss it: where scores stand
out the budget goes there at once, where they do not it is shared between the two halves.

B batch, N tokens, T frames, M frames to keep.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seefar.compress.base import Compressor, check_budget
from seefar.compress.relevance import Relevance
from seefar.compress.select import fits, whole_frames
from seefar.sequence import VisualSequence


def adaptive_bins(
    scores: Sequence[float] | Tensor, count: int, *, t1: float = 0.8, depth: int = 5, official: bool = False
) -> list[int]:
    """The positions, rising, of ``count`` frames chosen from the scores of all T frames.

    With the scores brought to [0, 1] over the film, a bin is left whole when

        mean of its best ``count`` scores - mean of all its scores > t1

    and else halved, up to ``depth`` times. A bin halved d times gives its best count // 2^d frames, and what this
    rounding leaves over goes to the best frames not yet taken. One bin is top-k; 2^depth bins are one choice from each
    equal part. Adding a constant to all scores, or scaling them, changes nothing. Equal scores everywhere say nothing:
    then the middles of ``count`` equal parts. T <= count keeps all.

    Args:
        scores: (T,), higher where a frame matters more.
        count: M, how many frames to keep.
        t1: how far the best must stand out; below 0 never splits, from 1 on always does.
        depth: most halvings of a bin; no more are made than leave every bin a frame, floor(log2 count).
        official: the authors' counts: depth is not held to the count and what rounding leaves over is lost. Fewer than
            ``count`` frames may come out, with few wanted even none: a RuntimeWarning tells.

    Raises:
        ValueError: no score, a score that is NaN or infinite, a count below 1, a negative depth, a t1 that is NaN.

    Reference: Tang et al., AKS, arXiv 2502.21271 (frame_select.py). Differs: depth held to the count; nothing lost by
    rounding; equal scores, 0/0 there; no second test on the standard deviation, which is off there (t2 = -100).

    Example:
        >>> adaptive_bins([0, 9, 8, 0, 0, 0, 1, 0], 2, depth=0), adaptive_bins([0, 9, 8, 0, 0, 0, 1, 0], 2)
        ([1, 2], [1, 6])
    """
    values = torch.as_tensor(scores, dtype=torch.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"adaptive_bins: scores must be (T,), one for each frame, got {tuple(values.shape)}")
    if not values.isfinite().all():
        bad = int((~values.isfinite()).sum())
        raise ValueError(f"adaptive_bins: {bad} scores are NaN or infinite; look at the relevance and its query")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"adaptive_bins: count must be a positive number of frames (an int), got {count!r}")
    _check_options("adaptive_bins", t1, depth)
    T, low, high = len(values), values.min(), values.max()
    if count > T or (count == T and not official):
        return list(range(T))
    if low == high:
        return [(2 * i + 1) * T // (2 * count) for i in range(count)]
    values = (values - low) / (high - low)
    depth = depth if official else min(depth, count.bit_length() - 1)
    bins = list(_bins(values, 0, count, t1, depth, 0))
    kept = [
        place for first, size, level in bins for place in _best(values[first : first + size], count >> level, first)
    ]
    if official and (empty := sum(count >> level == 0 for _, _, level in bins)):
        warnings.warn(
            f"adaptive_bins: {empty} of {len(bins)} bins give no frame, because {count} wanted is below "
            f"2^{depth}; {len(kept)} come out. Use depth={count.bit_length() - 1}, or official=False",
            RuntimeWarning,
            stacklevel=2,
        )
    if not official:
        rest = values.clone()
        rest[kept] = -torch.inf
        kept += _best(rest, count - len(kept), 0)
    return sorted(kept)


class AdaptiveBins(Compressor):
    """Keeps the frames that the question is about, and spreads the choice over the film where none stands out.

    A frame is as relevant as its best token; of T frames ``adaptive_bins`` chooses budget // (tokens a frame), which
    are kept with all of their tokens. Where the tokens are no raster they are chosen one by one.

    Args:
        relevance: ``relevance(seq, query)`` gives a (B, N) score for each token; ``Cosine()`` is one.
        t1: how far the best of a bin must stand out from its mean for it to stay whole.
        depth: most halvings.
        official: the authors' counts, which may leave budget unused; see ``adaptive_bins``.

    Raises:
        ValueError: a score is NaN or infinite or the scores are not (B, N); the budget is below one frame of the
            raster (the smallest possible one is named).

    Reference: Tang et al., AKS, arXiv 2502.21271.
    """

    def __init__(self, relevance: Relevance, *, t1: float = 0.8, depth: int = 5, official: bool = False) -> None:
        super().__init__()
        _check_options("AdaptiveBins", t1, depth)
        self.relevance, self.t1, self.depth, self.official = relevance, t1, depth, official

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row: whole frames, of high scores and from all over the film."""
        check_budget("AdaptiveBins", budget)
        size, M = 1, budget
        if seq.grid is not None:
            size, M = seq.grid[1] * seq.grid[2], whole_frames("AdaptiveBins", seq.grid, budget)
        if fits(seq, budget):
            return seq
        scores = self.relevance(seq, query)
        if scores.shape != seq.mask.shape:
            raise ValueError(
                f"AdaptiveBins: relevance must give {tuple(seq.mask.shape)} scores, got {tuple(scores.shape)}"
            )
        frames = scores.detach().unflatten(1, (-1, size)).amax(-1)
        keep = torch.zeros_like(frames, dtype=torch.bool)
        for row, real in enumerate((seq.count // size).tolist()):
            if real:
                chosen = adaptive_bins(frames[row, :real], M, t1=self.t1, depth=self.depth, official=self.official)
                keep[row, chosen] = True
        return seq.take(keep.repeat_interleave(size, 1))


def _check_options(who: str, t1: float, depth: int) -> None:
    if math.isnan(t1):
        raise ValueError(f"{who}: t1 must be a number such as 0.8, got {t1}")
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
        raise ValueError(f"{who}: depth must be a number of halvings of at least 0 (an int), got {depth!r}")


def _bins(values: Tensor, first: int, count: int, t1: float, depth: int, level: int) -> Iterator[tuple[int, int, int]]:
    """(first frame, frames, halvings) of every bin that is left whole, in order of time."""
    n = len(values)
    stands_out = n > 0 and float(values.topk(min(count, n)).values.mean() - values.mean()) > t1
    if stands_out or level == depth:
        yield first, n, level
        return
    yield from _bins(values[: n // 2], first, count, t1, depth, level + 1)
    yield from _bins(values[n // 2 :], first + n // 2, count, t1, depth, level + 1)


def _best(values: Tensor, count: int, first: int) -> list[int]:
    """Positions of the highest values, counted from ``first``; of equal ones the earlier."""
    return [first + place for place in values.argsort(descending=True, stable=True)[:count].tolist()]
