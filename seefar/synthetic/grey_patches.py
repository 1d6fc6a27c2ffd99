"""Small grey pictures cut from real photographs, to be read pixel by pixel."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from seefar.synthetic.shapes import PHOTOGRAPHS, photograph

CANVAS = 256
"""Rows and columns of a photograph that pictures are cut from."""


def grey_patches(count: int, side: int = 16, *, levels: int = 16, held_out: bool = False, seed: int) -> Tensor:
    """(count, side, side) int64 grey levels from 0 to ``levels`` - 1: squares of photographs, some of them mirrored.

    Args:
        count: pictures.
        side: rows and columns.
        levels: of grey, evenly spread from black to white.
        held_out: every fourth of the photographs, instead of the others.
        seed: decides everything.

    Raises:
        ValueError: nothing to make, a square larger than a photograph, or grey levels that a byte cannot tell apart.
        ImportError: scikit-image is missing.
    """
    if count < 1 or not 1 <= side <= CANVAS or not 2 <= levels <= 256:
        raise ValueError(
            f"grey_patches: count is at least 1, side at most {CANVAS}, levels from 2 to 256; "
            f"got {count=}, {side=}, {levels=}"
        )
    canvas = _canvas(held_out)
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(canvas), (count, 1, 1), generator=generator)
    top, left = torch.randint(CANVAS - side + 1, (2, count, 1, 1), generator=generator)
    along = torch.arange(side)
    patches = canvas[which, top + along[:, None], left + along].long() * levels // 256
    mirrored = torch.randint(2, (count, 1, 1), generator=generator).bool()
    return torch.where(mirrored, patches.flip(2), patches)


@cache
def _canvas(held_out: bool) -> Tensor:
    names = [name for i, name in enumerate(PHOTOGRAPHS) if (i % 4 == 3) == held_out]
    return torch.from_numpy(np.stack([photograph(name, CANVAS, CANVAS, 0).mean(2) for name in names]).astype(np.uint8))
