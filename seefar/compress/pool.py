"""Fewer tokens by averaging neighbours of the raster: no question asked, nothing left out."""

from __future__ import annotations

from torch import Tensor

from seefar.compress.base import Compressor, check_budget
from seefar.sequence import VisualSequence

Window = tuple[int, int, int]


class GridPool(Compressor):
    """Replaces each window of the raster by the mean of its tokens; all mass stays.

    Windows at the far edges may be smaller than the others. The window is chosen thus, space first: the smallest k
    for which (1, k, k) fits the budget, k cut to the height and the width of the raster; and if one token a frame is
    still too much, the smallest t for which (t, H, W) fits. A raster that fits is left as it is.

    Args:
        window: frames, rows and columns of a fixed window, used for every budget; None to choose it as above.

    Raises:
        ValueError: the tokens are no raster any more; a fixed window gives more than the budget (one that fits is
            named: the given one grown by the same rule).
    """

    def __init__(self, window: Window | None = None) -> None:
        super().__init__()
        if window is not None and (len(window) != 3 or any(not isinstance(n, int) or n < 1 for n in window)):
            raise ValueError(f"GridPool: window must be three positive ints (frames, rows, columns), got {window}")
        self.window = window

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row, one for each window; the query is not used."""
        check_budget("GridPool", budget)
        if seq.grid is None:
            raise ValueError(
                "GridPool: these tokens are no raster any more; pool before selecting, or use SimilarityMerge()"
            )
        fit = _grown(self.window or (1, 1, 1), seq.grid, budget)
        if self.window is not None and _count(self.window, seq.grid) > budget:
            raise ValueError(
                f"GridPool: window {self.window} leaves {_count(self.window, seq.grid)} tokens "
                f"of the raster {seq.grid}, the budget is {budget}; window={fit} would fit"
            )
        return seq if fit == (1, 1, 1) else seq.pool(fit)


def _count(window: Window, grid: Window) -> int:
    t, h, w = (-(-n // k) for n, k in zip(grid, window, strict=True))
    return t * h * w


def _grown(window: Window, grid: Window, budget: int) -> Window:
    """The window itself if it fits; else grown in space, then in time, until it does."""
    t, h, w = window
    while _count((t, h, w), grid) > budget and (h < grid[1] or w < grid[2]):
        h, w = min(h + 1, max(h, grid[1])), min(w + 1, max(w, grid[2]))
    while _count((t, h, w), grid) > budget:
        t += 1
    return t, h, w
