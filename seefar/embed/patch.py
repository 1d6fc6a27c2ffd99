"""Pixels to tokens, frame by frame: flat patches, and a convolutional stem.

B batch, T frames, C colour channels, H height, W width, D token width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from seefar.embed.base import Embed, check_pixels
from seefar.sequence import VisualSequence


class Patches(Embed):
    """Cuts each frame into squares of ``patch`` pixels and maps each one linearly to a token.

    ``token = weight @ square.flatten() + bias``, the square flattened as (C, row, column): a ViT's patch embedding
    (arXiv 2010.11929) without class token and positions. A convolution of stride ``patch`` has the same weights after
    ``weight.flatten(1)``.

    Args:
        dim: width D of the tokens.
        patch: side of a square, in pixels.
        in_channels: colour channels C.

    Shapes:
        pixels (B, T, C, H, W) float, seconds (T,) or (B, T) -> tokens (B, T * H/patch * W/patch, dim), grid
        (T, H/patch, W/patch).

    Raises:
        ValueError: H or W is no multiple of ``patch``, the pixels are no floats, the seconds fall or don't fit.
    """

    def __init__(self, dim: int, patch: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        if min(dim, patch, in_channels) < 1:
            raise ValueError(f"Patches: dim, patch and in_channels must be positive, got {dim}, {patch}, {in_channels}")
        self.dim, self.patch, self.in_channels = dim, patch, in_channels
        self.project = nn.Linear(in_channels * patch * patch, dim)

    def forward(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The tokens of each frame in raster order, frames in time order."""
        p = self.patch
        seconds = check_pixels("Patches", pixels, seconds, self.in_channels, (p, p))
        B, T, C, H, W = pixels.shape
        squares = pixels.reshape(B, T, C, H // p, p, W // p, p).permute(0, 1, 3, 5, 2, 4, 6)
        return VisualSequence.of_grid(self.project(squares.flatten(4)), seconds)


class ConvPatches(Embed):
    """Sees each frame through a few small convolutions instead of one large one; trains faster than ``Patches``.

    The convolutional stem of Xiao et al. (arXiv 2106.14881): one stage for each width, a 3x3 convolution of stride 2, a
    norm and a ReLU; then a 1x1 convolution to ``dim``. The total stride, the side of a token, is ``2 ** len(widths)``.
    A token stands for its cell of the raster, and the box says so; it also looks a little over the edges of the cell.

    Args:
        dim: width D of the tokens.
        widths: channels after each stage.
        in_channels: colour channels C.
        blocks: residual blocks after each stage, ``x + conv(relu(norm(conv(relu(norm(x))))))`` (arXiv 1603.05027).
        groups: groups of the norm; each width must be a multiple.

    Shapes:
        As ``Patches``, with ``patch = 2 ** len(widths)``.

    Raises:
        ValueError: as ``Patches``; also when a width is no multiple of ``groups``.

    Differs:
        GroupNorm (arXiv 1803.08494) in place of batch norm, so that a frame's tokens depend on that frame alone.
    """

    def __init__(
        self, dim: int, widths: Sequence[int] = (32, 64, 96), in_channels: int = 3, *, blocks: int = 0, groups: int = 8
    ) -> None:
        super().__init__()
        if not widths or min(dim, in_channels, *widths) < 1 or blocks < 0:
            raise ValueError(f"ConvPatches: needs positive sizes, got dim={dim} widths={tuple(widths)} blocks={blocks}")
        if groups < 1 or any(width % groups for width in widths):
            raise ValueError(f"ConvPatches: each width must be a multiple of groups={groups}, got {tuple(widths)}")
        self.dim, self.patch, self.in_channels = dim, 2 ** len(widths), in_channels
        layers: list[nn.Module] = []
        for before, width in zip((in_channels, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(groups, width),
                nn.ReLU(),
            ]
            layers += [_Residual(width, groups) for _ in range(blocks)]
        self.stem = nn.Sequential(*layers, nn.Conv2d(widths[-1], dim, 1))

    def forward(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The tokens of each frame in raster order, frames in time order."""
        seconds = check_pixels("ConvPatches", pixels, seconds, self.in_channels, (self.patch, self.patch))
        B, T = pixels.shape[:2]
        seen = self.stem(pixels.flatten(0, 1))
        return VisualSequence.of_grid(seen.movedim(1, -1).unflatten(0, (B, T)), seconds)


class _Residual(nn.Module):
    """A pre-activation residual block; starts as the identity, because the last convolution starts at zero."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(groups, width), nn.GroupNorm(groups, width)])
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.norms[0](x).relu())
        return x + self.second(self.norms[1](h).relu())
