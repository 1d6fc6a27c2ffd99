"""Pixels to tokens, a few frames at a time: the small blocks of space and time of a video transformer.

B batch, T frames, C colour channels, H height, W width, D token width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seefar.embed.base import Embed, check_pixels
from seefar.sequence import VisualSequence


class Tubelets(Embed):
    """Cuts a clip into blocks of (frames, rows, columns) and maps each one linearly to a token.

    ``token = weight @ block.flatten() + bias``, the block flattened as (C, frame, row, column): the tubelet embedding
    of ViViT (arXiv 2103.15691), which is a 3-d convolution whose stride is its kernel; its weights fit after
    ``weight.flatten(1)``. The span of a token runs from the second of its first frame to that of its last one.

    Args:
        dim: width D of the tokens.
        tubelet: frames, rows and columns of a block.
        in_channels: colour channels C.

    Shapes:
        pixels (B, T, C, H, W) float, seconds (T,) or (B, T) -> tokens (B, N, dim), grid (ceil(T/t), H/h, W/w).

    Raises:
        ValueError: H or W is no multiple of its side, the pixels are no floats, the seconds fall or don't fit, T is 0.

    Differs:
        When T is no multiple of the block the last frame is repeated to fill it, so that the end of a film is never
        lost; the span of that token ends at the last real frame. The paper leaves the rest out.
    """

    def __init__(self, dim: int, tubelet: tuple[int, int, int] = (2, 16, 16), in_channels: int = 3) -> None:
        super().__init__()
        if len(tubelet) != 3 or min(dim, in_channels, *tubelet) < 1:
            raise ValueError(f"Tubelets: tubelet must be three positive ints (frames, rows, columns), got {tubelet}")
        self.dim, self.tubelet, self.in_channels = dim, tuple(tubelet), in_channels
        self.project = nn.Linear(in_channels * tubelet[0] * tubelet[1] * tubelet[2], dim)

    def forward(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The tokens of each stretch of frames in raster order, stretches in time order."""
        t, h, w = self.tubelet
        seconds = check_pixels("Tubelets", pixels, seconds, self.in_channels, (h, w))
        B, T, C, H, W = pixels.shape
        if T == 0:
            raise ValueError("Tubelets: a clip needs at least one frame, got 0")
        last = torch.arange(-(-T // t) * t, device=pixels.device).clamp(max=T - 1)
        blocks = pixels[:, last].reshape(B, -1, t, C, H // h, h, W // w, w).permute(0, 1, 4, 6, 3, 2, 5, 7)
        seen = seconds[:, last].reshape(B, -1, t)
        return VisualSequence.of_grid(self.project(blocks.flatten(4)), torch.stack([seen[..., 0], seen[..., -1]], -1))
