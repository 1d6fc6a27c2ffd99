"""Scan paths: the order in which a one-dimensional mixer walks the tokens of a picture or of a film.

Tokens of a (T, H, W) grid are numbered as a raster: frame by frame, row by row, column by column. A path lists these
numbers in the order of its walk. N = T * H * W tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Path:
    """A walk over the grid in straight lines, one axis inside the other.

    Args:
        axes: "t", "h" and "w" from the outermost loop to the innermost: "thw" goes along rows, "twh" along columns,
            "hwt" through all of time at one place and then on to the next.
        backward: walk it from its end.

    Example:
        >>> Path("twh")((1, 2, 3)).tolist()
        [0, 3, 1, 4, 2, 5]
        >>> Path("thw", backward=True)((1, 2, 3)).tolist()
        [5, 4, 3, 2, 1, 0]
    """

    axes: str
    backward: bool = False

    def __post_init__(self) -> None:
        if sorted(self.axes) != ["h", "t", "w"]:
            raise ValueError(f"Path: axes must be an order of the letters t, h and w, such as 'thw', got {self.axes!r}")

    def __call__(self, grid: tuple[int, int, int], device: torch.device | str | None = None) -> Tensor:
        """(N,) int64: the raster number of each token in the order of the walk; ``x[:, path(grid)]`` walks."""
        if len(grid) != 3 or min(grid) < 1:
            raise ValueError(f"Path: grid must be three positive ints (frames, rows, columns), got {grid}")
        raster = torch.arange(grid[0] * grid[1] * grid[2], device=device).reshape(grid)
        order = raster.permute(["thw".index(axis) for axis in self.axes]).flatten()
        return order.flip(0) if self.backward else order

    def inverse(self, grid: tuple[int, int, int], device: torch.device | str | None = None) -> Tensor:
        """(N,) int64: the step at which each raster token is met; ``y[:, path.inverse(grid)]`` puts the walk back."""
        order = self(grid, device)
        return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=device))


raster = Path("thw")
reverse = Path("thw", backward=True)

# VMamba's cross-scan, arXiv 2401.10166: rows, columns, and both from the end; frame by frame in a film.
cross = (raster, Path("twh"), reverse, Path("twh", backward=True))

# VideoMamba, arXiv 2403.06977: both ways frame by frame, or both ways with each place through all of time.
spatial_first = (raster, reverse)
temporal_first = (Path("hwt"), Path("hwt", backward=True))
spatiotemporal = spatial_first + temporal_first
