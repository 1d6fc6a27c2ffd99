"""Real handwritten digits, moved about in their picture, with a pixel for a token: to name them takes a mixer.

B batch, N tokens, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from seefar.backbones.plain import Plain
from seefar.embed.patch import Patches
from seefar.evals.protocols import Curves, Setting, classification
from seefar.mixers.base import Mixer
from seefar.synthetic.digit_pixels import digit_pixels

SIDE, CLASSES, FAR = 8, 10, 2
"""Pixels of a side, digits, and how many pixels a digit is moved at most."""


def digits_by_pixel(
    columns: Mapping[str, Callable[[], Mixer]],
    setting: Setting,
    *,
    dim: int,
    steps: int,
    batch: int = 32,
    lr: float = 1e-2,
    name: str = "digits by pixel",
) -> Curves:
    """Share of held-out digits that each column names; all that differs is the column.

    A token is one pixel. Each digit is moved by up to ``FAR`` pixels down and up, right and left, as if its picture
    were a ring, so that no pixel has a fixed part in it: a linear classifier of all pixels names 96 % of digits that
    stay where they are, and 27 % of these. A column that mixes nothing is such a classifier but for what it makes of
    each pixel alone, since the tokens are read by their mean.

    Args:
        columns: what mixes 64 tokens (B, N, D); each is made once for a seed.
        setting: the scale.
        dim: D, a multiple of 4.
        steps: of training.
        batch: digits of a step.
        lr: the highest learning rate.
        name: of the experiment; the only point is ``"accuracy"``.

    Raises:
        ValueError: a width that the places do not fit.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"digits_by_pixel: dim is a multiple of 4, of which two halves tell row and column, got {dim}")
    arms = {arm: partial(_read, make, dim) for arm, make in columns.items()}
    return classification(arms, partial(digit_batch, batch=batch), digit_test, setting, steps=steps, lr=lr, name=name)


def digit_batch(seed: int, step: int, *, batch: int) -> tuple[Tensor, Tensor]:
    """Moved pictures (batch, 1, 8, 8) in [-1, 1] and labels (batch,), drawn from the digits for training."""
    pixels, labels = digit_pixels("train")
    generator = torch.Generator().manual_seed(100_000 * (seed + 1) + step)
    rows = torch.randint(len(pixels), (batch,), generator=generator)
    return _moved(pixels[rows], generator), labels[rows]


def digit_test(seed: int) -> tuple[Tensor, Tensor]:
    """The same of all 360 held-out digits; the seed moves them."""
    pixels, labels = digit_pixels("held-out")
    return _moved(pixels, torch.Generator().manual_seed(seed)), labels


def _moved(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 1, 8, 8) of pixels (B, 64, 1), each rolled down and right by its own steps."""
    by = torch.randint(-FAR, FAR + 1, (2, len(pixels), 1), generator=generator)
    rows, columns = (torch.arange(SIDE) - by) % SIDE
    places = rows[:, :, None] * SIDE + columns[:, None]
    return pixels[..., 0].gather(1, places.flatten(1)).view(-1, 1, SIDE, SIDE)


def _read(make: Callable[[], Mixer], dim: int, _: int) -> Plain:
    """A classifier whose places begin as waves along both sides: near pixels begin alike, which speeds up learning."""
    net = Plain(Patches(dim, 1, 1), make(), grid=(SIDE, SIDE), cls="none", classes=CLASSES)
    turns = torch.linspace(1, SIDE / 2, dim // 4) * math.pi / SIDE * torch.arange(SIDE)[:, None]
    wave = torch.cat([turns.sin(), turns.cos()], -1)
    raster = torch.cat([wave[:, None].expand(-1, SIDE, -1), wave[None].expand(SIDE, -1, -1)], -1)
    with torch.no_grad():
        net.place.table.copy_(raster.flatten(0, 1))
    return net
