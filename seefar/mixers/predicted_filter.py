"""A small filter for each picture, read off its mean token: what attention among all tokens lacks nearby.

B batch, N tokens, D channels; a grid is (H, W) with N = H * W, after the tokens that stand in front of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 3


class PredictedFilter(nn.Module):
    """3 x 3 around each token, one filter for each picture and channel; zero beyond the edge.

    f = W_2 gelu(W_1 mean_n x_n) in (D, 3, 3),    y[i, j] = sum_ab f[a, b] v[i + a - 1, j + b - 1]

    W_1 and W_2 join channels of one head alone.

    Args:
        dim: D.
        heads: groups of channels.
        grid: (H, W).
        front: tokens before the grid, such as a class token, that the mean sees and the filter leaves out.

    Raises:
        ValueError: a grid that does not hold the tokens, or heads that do not divide ``dim``.

    Reference: Han et al., InLine, arXiv 2412.06590.
    """

    def __init__(self, dim: int, heads: int, grid: tuple[int, int], *, front: int = 0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"PredictedFilter: heads must divide dim={dim}, got {heads}")
        if min(grid) < 1 or front < 0:
            raise ValueError(f"PredictedFilter: needs a grid of tokens and front >= 0, got {grid=}, {front=}")
        self.grid, self.front = grid, front
        self.predict = nn.Sequential(
            nn.Conv1d(dim, dim, 1, groups=heads), nn.GELU(), nn.Conv1d(dim, dim * SIDE * SIDE, 1, groups=heads)
        )

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """(B, N, D) taken from the neighbours in v (B, N, D) by the filters of x (B, N, D)."""
        H, W = self.grid
        if x.shape[1] != self.front + H * W:
            raise ValueError(
                f"PredictedFilter: {self.front} tokens and a grid of {H} x {W} make {self.front + H * W}, got "
                f"{x.shape[1]}; set grid"
            )
        taps = self.predict(x.mean(1)[..., None])[..., 0].unflatten(1, (-1, SIDE * SIDE))
        wide = F.pad(v[:, self.front :].unflatten(1, (H, W)), (0, 0, 1, 1, 1, 1))
        y = torch.zeros_like(v[:, self.front :]).unflatten(1, (H, W))
        for a in range(SIDE):
            for b in range(SIDE):
                y = torch.addcmul(y, wide[:, a : a + H, b : b + W], taps[:, None, None, :, SIDE * a + b])
        return F.pad(y.flatten(1, 2), (0, 0, self.front, 0))
