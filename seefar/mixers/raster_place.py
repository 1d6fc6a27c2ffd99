"""Where a token of a picture stands, told to a model that reads it pixel by pixel.

B batch, N tokens, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer


class RasterPlace(Mixer):
    """Gives each token a vector of its row plus one of its column, whatever the token is; as a layer, it adds them.

    y_n = rows[n // width] + columns[n mod width]

    The state is the number of tokens seen, so it streams. Begins as normals of deviation 0.7, which together weigh as
    much as a word.

    Args:
        height: rows of the picture. width: columns.

    Raises:
        ValueError: a size that is not positive, or more tokens than the picture has.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, height: int, width: int) -> None:
        super().__init__()
        if min(dim, height, width) < 1:
            raise ValueError(f"RasterPlace: sizes must be at least 1, got {dim=}, {height=}, {width=}")
        self.rows = nn.Parameter(0.7 * torch.randn(height, dim))
        self.columns = nn.Parameter(0.7 * torch.randn(width, dim))

    def forward(self, x: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        """The places of x (B, N, D), counted on from ``state``."""
        height, width = len(self.rows), len(self.columns)
        seen, end = state or 0, (state or 0) + x.shape[1]
        if end > height * width:
            raise ValueError(f"RasterPlace: a picture of {height} x {width} has no token {end - 1}; make it larger")
        n = torch.arange(seen, end, device=x.device)
        return (self.rows[n // width] + self.columns[n % width]).expand(x.shape), end
