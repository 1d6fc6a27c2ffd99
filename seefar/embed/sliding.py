"""Pixels to tokens by a window that slides: patches that overlap.

B batch, T frames, C colour channels, H height, W width, D token width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.embed.base import Embed, check_pixels
from seefar.sequence import VisualSequence


class SlidingPatches(Embed):
    """Cuts each frame into overlapping squares, ``stride`` pixels apart, and maps each one linearly to a token.

    ``token = weight @ square.flatten() + bias``, the square flattened as (C, row, column), without padding: as
    ``Patches``, whose case it is for stride = patch. A box is all that its token saw, so boxes overlap.

    Args:
        dim: width D of the tokens.
        patch: side of a square, in pixels.
        stride: pixels from one square to the next, at most ``patch``.
        in_channels: colour channels C.

    Shapes:
        pixels (B, T, C, H, W) float, seconds (T,) or (B, T) -> tokens (B, T * h * w, dim), grid (T, h, w) with
        h = (H - patch) // stride + 1 and w likewise; what is left over at the right and at the bottom isn't seen.

    Raises:
        ValueError: a frame smaller than a square; otherwise as ``Patches``.

    Reference: unfold as the patch embedding of V1T, Li et al., arXiv 2302.03023.
    """

    def __init__(self, dim: int, patch: int = 8, stride: int = 1, in_channels: int = 3) -> None:
        super().__init__()
        if min(dim, patch, in_channels) < 1 or not 1 <= stride <= patch:
            raise ValueError(
                f"SlidingPatches: sizes must be positive and stride at most patch, got {dim=} {patch=} {stride=}"
            )
        self.dim, self.patch, self.stride, self.in_channels = dim, patch, stride, in_channels
        self.project = nn.Linear(in_channels * patch * patch, dim)

    def forward(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The tokens of each frame in raster order, frames in time order."""
        p, s = self.patch, self.stride
        seconds = check_pixels("SlidingPatches", pixels, seconds, self.in_channels, (1, 1))
        (B, T, _, H, W), sizes = pixels.shape, pixels.shape[3:]
        if min(sizes) < p:
            raise ValueError(f"SlidingPatches: frames of {H} x {W} hold no square of {p}; use a smaller patch")
        h, w = ((size - p) // s + 1 for size in sizes)
        squares = F.unfold(pixels.flatten(0, 1), p, stride=s).mT.reshape(B, T, h, w, -1)
        seq = VisualSequence.of_grid(self.project(squares), seconds)
        y, x = (torch.arange(n, device=pixels.device, dtype=torch.float32) * s for n in (h, w))
        first = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(h * w, 2)
        box = torch.cat([first, first + p], -1) / first.new_tensor([H, W, H, W])
        return replace(seq, box=box.repeat(B, T, 1))
