"""The pyramid: a picture goes through columns of tokens, fewer and wider from one to the next.

B batch, C channels of a map, N tokens of a level, D channels of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.positions.absolute import LearnedGrid


def strided(*widths: int, strides: Sequence[int]) -> nn.Sequential:
    """Convolutions of 3 x 3 from one width to the next, each with a batch norm and a ReLU."""
    layers: list[nn.Module] = []
    for (into, out), stride in zip(pairwise(widths), strides, strict=True):
        layers += [nn.Conv2d(into, out, 3, stride, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)


class Level(nn.Module):
    """One floor of a pyramid: ``column(embed(map) + place)``.

    Args:
        embed: (B, C, H, W) to (B, D, rows, columns), such as ``strided``.
        column: mixes (B, N, D).
        dim: D.
        grid: (rows, columns) of tokens.

    Raises:
        ValueError: the embed gives another grid.
    """

    def __init__(self, embed: nn.Module, column: Mixer, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.embed, self.column = embed, column
        self.dim, self.grid = dim, grid
        self.place = LearnedGrid(dim, grid)

    def tokens(self, maps: Tensor) -> Tensor:
        """The tokens (B, N, D) that the column begins with."""
        x = self.embed(maps)
        if x.shape[1:] != (self.dim, *self.grid):
            wanted = (self.dim, *self.grid)
            raise ValueError(f"Level: the embed should give maps of {wanted}, got {tuple(x.shape[1:])}; set the grid")
        return x.flatten(2).mT + self.place(self.grid)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, rows, columns)."""
        return self.column(self.tokens(maps))[0].mT.unflatten(-1, self.grid)


class Pyramid(nn.Module):
    """A picture to logits, by levels; at the last one a class token stands in front, and the head reads it.

    logits = W norm(last column)_class + b

    The class token has a place of its own; it begins, as the head does, as a normal of deviation 0.02.

    Args:
        levels: from fine to coarse.
        norm: of the last column's output, None for LayerNorm with eps 1e-6.
        classes: of the head; 0 for none, and features come out.

    Shapes:
        (B, C, H, W) -> (B, classes), or (B, D) where ``classes`` is 0.

    Raises:
        ValueError: no level, or pictures that do not fit the grids.

    Reference: Wang et al., PVT, arXiv 2102.12122, without its attention.
    """

    def __init__(self, levels: Sequence[Level], *, norm: nn.Module | None = None, classes: int = 0) -> None:
        super().__init__()
        if not levels or classes < 0:
            raise ValueError(f"Pyramid: needs at least one level and classes >= 0, got {len(levels)} and {classes}")
        self.levels = nn.ModuleList(levels)
        dim = levels[-1].dim
        self.cls_token, self.cls_place = (nn.Parameter(torch.empty(dim)) for _ in range(2))
        for vector in (self.cls_token, self.cls_place):
            nn.init.trunc_normal_(vector, std=0.02)
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm is None else norm
        self.head: nn.Module = nn.Identity()
        if classes:
            self.head = nn.Linear(dim, classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of pictures (B, C, H, W)."""
        maps = self.maps(pixels)
        last = self.levels[-1]
        assert isinstance(last, Level)
        tokens = last.tokens(maps[-1] if maps else pixels)
        summary = (self.cls_token + self.cls_place).expand(len(tokens), 1, -1)
        return self.head(self.norm(last.column(torch.cat([summary, tokens], 1))[0][:, 0]))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """What every level but the last gives, (B, D, rows, columns) each: features of several sizes."""
        found: list[Tensor] = []
        for level in self.levels[:-1]:
            found.append(level(found[-1] if found else pixels))
        return found
