"""Pictures of things that come in pairs, and captions that name a companion whether or not it is there.

A caption model trained on them gets a habit beside its eyes; how strong, is an argument. The truth of every picture
is known, so that what a caption makes up can be counted.

B pictures, K kinds of things, L words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seefar.synthetic.shapes import COLOURS, SHAPES, stencil

PAD, START, END, PICTURE = range(4)
"""Words that are no things: padding, the first and the last of a caption, and the place of a patch in a prompt."""
CELL = 6
"""Pixels of a side of the square that a thing fills."""


class Captioned(NamedTuple):
    """Pictures with their truth and their captions.

    Args:
        pixels: (B, 3, S, S) float32 around 0.
        cells: (B, K) which cell of the raster each thing is in, row by row; -1 where it is absent.
        words: (B, L) the caption: things by number + 4, then ``END``, then ``PAD``.
    """

    pixels: Tensor
    cells: Tensor
    words: Tensor


@dataclass(frozen=True)
class PairedScenes:
    """Scenes in which every base thing has a companion that is often beside it, and oftener still in the captions.

    Half of the bases are in a picture, each anywhere on the raster; a companion comes with its base only, with
    probability ``cooccur``. The caption names, pair by pair, the base and the companion if it is there; an absent
    companion of a base that is there is named with probability ``caption_bias``.

    Args:
        pairs: of a base and its companion; thing 2 i is the base of thing 2 i + 1.
        cooccur: how often a companion is there.
        caption_bias: how often one that is not there is named all the same: the language prior.
        noise: standard deviation of the pixels' Gaussian noise; things differ from the ground by up to 0.5.
        grid: cells of a side.
    """

    pairs: int = 6
    cooccur: float = 0.5
    caption_bias: float = 0.0
    noise: float = 0.3
    grid: int = 5

    def __post_init__(self) -> None:
        for name in ("cooccur", "caption_bias"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"PairedScenes: {name} is a probability in [0, 1], got {getattr(self, name)}")
        if not 1 <= self.pairs <= len(COLOURS):
            raise ValueError(f"PairedScenes: 1 to {len(COLOURS)} pairs can be told apart, got {self.pairs}")
        if 2 * self.pairs > self.grid**2:
            raise ValueError(f"PairedScenes: {2 * self.pairs} things do not fit {self.grid} x {self.grid} cells")
        if self.noise < 0:
            raise ValueError(f"PairedScenes: noise must not be negative, got {self.noise}")

    @property
    def things(self) -> list[str]:
        """What each thing is called, K of them."""
        return [f"{colour} {shape}" for colour, shape in self._looks()]

    @property
    def vocabulary(self) -> int:
        """Number of words."""
        return 4 + 2 * self.pairs

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return self.grid * CELL

    def draw(self, count: int, seed: int | Sequence[int]) -> Captioned:
        """``count`` pictures; the same seed gives the same ones."""
        if count < 1:
            raise ValueError(f"PairedScenes: at least one picture can be drawn, got {count}")
        rng = np.random.default_rng(seed)
        base = rng.random((count, self.pairs)) < 0.5
        base[np.arange(count), rng.integers(self.pairs, size=count)] = True
        companion = base & (rng.random(base.shape) < self.cooccur)
        named = companion | base & (rng.random(base.shape) < self.caption_bias)
        there, said = (np.stack(both, 2).reshape(count, -1) for both in ((base, companion), (base, named)))
        places = rng.random((count, self.grid**2)).argsort(1)[:, : there.shape[1]]
        cells = np.where(there, places, -1)
        return Captioned(torch.from_numpy(self._paint(rng, cells)), torch.from_numpy(cells), _caption(said))

    def said(self, words: Tensor) -> Tensor:
        """Which things (B, K) a caption (B, L) names."""
        named = torch.zeros(len(words), self.vocabulary, dtype=torch.bool, device=words.device)
        return named.scatter(1, words, True)[:, 4:]

    def _looks(self) -> list[tuple[str, str]]:
        """Colour and shape of each thing: no two share both, companions share neither."""
        colours = list(COLOURS)
        return [
            (colours[(i // 2 + 3 * (i % 2)) % len(colours)], SHAPES[(i * 3) % len(SHAPES)])
            for i in range(2 * self.pairs)
        ]

    def _paint(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        glyphs = np.stack(
            [
                stencil(shape, CELL, CELL) * (np.array(COLOURS[colour], np.float32)[:, None, None] / 255 - 0.5)
                for colour, shape in self._looks()
            ]
        )
        raster = np.zeros((len(cells), self.grid**2, *glyphs.shape[1:]), np.float32)
        row, thing = np.nonzero(cells >= 0)
        raster[row, cells[row, thing]] = glyphs[thing]
        raster = raster.reshape(-1, self.grid, self.grid, 3, CELL, CELL).transpose(0, 3, 1, 4, 2, 5)
        pixels = raster.reshape(-1, 3, self.size, self.size)
        return pixels + self.noise * rng.standard_normal(pixels.shape, np.float32)


def _caption(said: np.ndarray) -> Tensor:
    """Words (B, K + 1) for what is said (B, K)."""
    words = np.where(said, np.arange(said.shape[1]) + 4, 10**6)
    words = np.sort(np.pad(words, ((0, 0), (0, 1)), constant_values=10**5), 1)
    return torch.from_numpy(np.select([words < 10**5, words == 10**5], [words, END], PAD))
