"""Absolute positions: a vector for each cell of a raster, added to its token.

N = H * W cells, D channels, S sides of a table.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnedGrid(nn.Module):
    """A learned vector for each cell; a raster of another size reads the table as a picture, resized to it.

    Cells keep their share of the picture, not their number: the middle of a 78 x 78 raster gets what the middle of a
    14 x 14 one learnt. Begins as a normal of deviation 0.02, cut at two units.

    Args:
        dim: width D.
        grid: (H, W) of the table.

    Shapes:
        (H', W') -> (H' * W', D), row by row.

    Reference: Dosovitskiy et al., arXiv 2010.11929; resizing by bicubic interpolation.
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        if dim < 1 or len(grid) != 2 or min(grid) < 1:
            raise ValueError(f"LearnedGrid: needs a positive dim and a grid of rows and columns, got {dim}, {grid}")
        self.grid = grid
        self.table = nn.Parameter(torch.empty(grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """The vectors of a raster of ``grid`` = (rows, columns)."""
        if grid == self.grid:
            return self.table
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(f"LearnedGrid: grid must be positive rows and columns, got {grid}")
        picture = self.table.T.reshape(1, -1, *self.grid)
        return F.interpolate(picture, size=grid, mode="bicubic", align_corners=False)[0].flatten(1).T


class FactorisedGrid(nn.Module):
    """A learned vector for each row plus one for each column, read at the box of a token.

    phi(box) = rows[u_y] + columns[u_x], where u_y is

    absolute:    the number of the token's row, round(y0 / (y1 - y0))
    fractional:  how far down the picture its centre is, S (y0 + y1) / 2 - 1/2, between the ends of the table, the two
                 nearest entries mixed

    and u_x the same of the columns. A box says all that is needed, so tokens may be dropped, packed and moved about.
    Absolute tells a wide picture from a tall one, and has no place for a row or a column beyond the table; fractional
    fits pictures of any size. A box without height or width, as padding has, gets the first entry. Begins as normals
    of deviation 0.02, cut at two units.

    Args:
        dim: width D.
        sides: S, entries of each of the two tables: the most rows, or columns, that absolute positions can tell apart.
        kind: "absolute" or "fractional".

    Shapes:
        (..., 4) y0 x0 y1 x1 in [0, 1] -> (..., D).

    Raises:
        ValueError: an unknown ``kind``; boxes of another shape; with "absolute" a row or column beyond the table.

    Reference: Dehghani et al., NaViT, arXiv 2307.06304. Differs: fractional reads at the centre of a token rather than
    at its upper left corner, and a table rather than a sum of waves.
    """

    def __init__(self, dim: int, sides: int, kind: str = "fractional") -> None:
        super().__init__()
        if min(dim, sides) < 1:
            raise ValueError(f"FactorisedGrid: dim and sides must be positive, got {dim} and {sides}")
        if kind not in ("absolute", "fractional"):
            raise ValueError(f"FactorisedGrid: kind must be 'absolute' or 'fractional', got {kind!r}")
        self.sides, self.kind = sides, kind
        self.rows, self.columns = (nn.Parameter(torch.empty(sides, dim)) for _ in range(2))
        for table in (self.rows, self.columns):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, box: Tensor) -> Tensor:
        """The vectors of tokens with these boxes."""
        if box.shape[-1:] != (4,):
            raise ValueError(f"FactorisedGrid: boxes must be (..., 4), y0 x0 y1 x1, got {tuple(box.shape)}")
        y0, x0, y1, x1 = box.unbind(-1)
        read = self._at_index if self.kind == "absolute" else self._at_share
        return read(self.rows, y0, y1) + read(self.columns, x0, x1)

    def _at_index(self, table: Tensor, start: Tensor, end: Tensor) -> Tensor:
        size = end - start
        index = torch.where(size > 0, start / size, 0).round().long()
        if index.numel() and index.max() >= self.sides:
            raise ValueError(
                f"FactorisedGrid: a token in row or column {int(index.max())} has no place in tables of {self.sides}; "
                f"build them with sides={int(index.max()) + 1} or take kind='fractional'"
            )
        return table[index]

    def _at_share(self, table: Tensor, start: Tensor, end: Tensor) -> Tensor:
        at = (self.sides * (start + end) / 2 - 0.5).clamp(0, self.sides - 1).to(table.dtype)
        below = at.floor()
        share = (at - below)[..., None]
        index = below.long()
        return torch.lerp(table[index], table[(index + 1).clamp(max=self.sides - 1)], share)
