"""Residual convolutions that take a frame to a grid of features, and back to pixels.

F frames, C colours, H W pixels, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class ResNetBlock(nn.Module):
    """y = skip(x) + R(x) / 10,    R = conv elu norm conv elu norm, kernels of 3 x 3

    ``skip`` is the identity, or a product of matrices at each place where the width changes.

    Args:
        into, out: channels before and after.
        groups: of channels that are normalised together; they divide both widths.
    """

    def __init__(self, into: int, out: int, *, groups: int = 32) -> None:
        super().__init__()
        if groups < 1 or into % groups or out % groups:
            raise ValueError(f"ResNetBlock: groups must divide the widths {into} and {out}, got {groups}")
        self.skip = nn.Identity() if into == out else nn.Conv2d(into, out, 1, bias=False)

        def half(width: int) -> list[nn.Module]:
            return [nn.GroupNorm(groups, width, eps=1e-6), nn.ELU(), nn.Conv2d(width, out, 3, padding=1)]

        self.refine = nn.Sequential(*half(into), *half(out))

    def forward(self, x: Tensor) -> Tensor:
        """(F, into, H, W) to (F, out, H, W)."""
        skipped: Tensor = self.skip(x)
        return skipped + 0.1 * self.refine(x)


class ResNetEncoder(nn.Sequential):
    """(F, C, H, W) to (F, D, H / s, W / s): a block for each width, with the mean of 2 x 2 pixels between two of them.

    Args:
        colours: C.
        depths: widths, the last one is D; s = 2 ^ (len(depths) - 1) must divide H and W.
        groups: see ``ResNetBlock``.

    Reference: Yan et al., TECO, arXiv 2210.02396.
    """

    def __init__(self, colours: int, depths: Sequence[int], *, groups: int = 32) -> None:
        layers: list[nn.Module] = [nn.Conv2d(colours, depths[0], 3, padding=1)]
        layers.append(ResNetBlock(depths[0], depths[0], groups=groups))
        for narrow, wide in pairwise(depths):
            layers += [nn.AvgPool2d(2), ResNetBlock(narrow, wide, groups=groups)]
        super().__init__(*layers)
        self.stride = 2 ** (len(depths) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode x (F, C, H, W)."""
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise ValueError(
                f"ResNetEncoder: sides must be multiples of {self.stride} pixels, got {x.shape[-2]} x {x.shape[-1]}"
            )
        return super().forward(x)


class ResNetDecoder(nn.Module):
    """(F, D, h, w) to (F, C, s h, s w): a block for each width from the last to the first, each pixel doubled between.

    Args:
        colours: C.
        depths: widths as given to the encoder.
        groups: see ``ResNetBlock``.

    Reference: Yan et al., TECO, arXiv 2210.02396.
    """

    def __init__(self, colours: int, depths: Sequence[int], *, groups: int = 32) -> None:
        super().__init__()
        into, blocks = depths[0], []
        for wide in reversed(depths):
            blocks.append(ResNetBlock(into, wide, groups=groups))
            into = wide
        self.first = nn.Conv2d(depths[-1], depths[0], 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(depths[0], eps=1e-6)
        self.last = nn.Linear(depths[0], colours)

    def forward(self, x: Tensor) -> Tensor:
        """Decode x (F, D, h, w)."""
        x = self.first(x)
        for i, block in enumerate(self.blocks):
            x = block(x if i == 0 else F.interpolate(x, scale_factor=2.0, mode="nearest"))
        pixels: Tensor = self.last(self.norm(x.permute(0, 2, 3, 1)))
        return pixels.permute(0, 3, 1, 2)
