"""Pictures of every aspect in which it matters how a shape is stretched: squashed to a square, they mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seefar.synthetic.shapes import SHAPES, stencil

STRETCHES = {"tall": 0.5, "even": 1.0, "wide": 2.0}
"""Width over height of a shape."""


@dataclass(frozen=True)
class Glyphs:
    """One shape in a frame; what it is called is its outline and its stretch, whatever the frame is.

    All frames have one area. Width over height of a frame is log-uniform up to ``aspect`` either way and says nothing
    of the shape; nor does the shape's place. A tall circle in a wide frame looks as a round one may when the frame is
    squashed to a square; only the stretched grain of the noise then tells.

    Args:
        shapes: outlines.
        area: of a frame, in pixels.
        aspect: longest side over shortest.
        noise: standard deviation of the Gaussian noise; a shape differs from its ground by 0.6 to 1.
        fill: how much of the frame a shape takes, at the least and at the most, along the side that it comes closest to
            filling.
    """

    shapes: tuple[str, ...] = ("circle", "square", "triangle", "cross")
    area: int = 64 * 64
    aspect: float = 4.0
    noise: float = 0.3
    fill: tuple[float, float] = (0.55, 0.95)

    def __post_init__(self) -> None:
        if unknown := set(self.shapes) - set(SHAPES):
            raise ValueError(f"Glyphs: there is no {', '.join(sorted(unknown))}; shapes are {', '.join(SHAPES)}")
        if not self.shapes or self.noise < 0 or self.aspect < 1:
            raise ValueError(
                f"Glyphs: needs a shape, noise of at least 0 and an aspect of at least 1, got {len(self.shapes)} "
                f"shapes, {self.noise}, {self.aspect}"
            )
        if not 0 < self.fill[0] <= self.fill[1] <= 1:
            raise ValueError(f"Glyphs: fill is two shares of the frame in (0, 1], rising, got {self.fill}")
        if self.fill[0] * (self.area / self.aspect) ** 0.5 < 8:
            raise ValueError(
                f"Glyphs: shapes would be under 8 pixels long in frames of {self.area}; take a larger area"
            )

    @property
    def names(self) -> list[str]:
        """What the labels mean."""
        return [f"{stretch} {shape}" for shape in self.shapes for stretch in STRETCHES]

    def draw(self, count: int, seed: int | Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """``count`` pictures (1, H, W) float32 around 0, and their labels (count,); a seed gives the same ones."""
        if count < 1:
            raise ValueError(f"Glyphs: at least one picture can be drawn, got {count}")
        rng = np.random.default_rng(seed)
        labels = rng.integers(len(self.names), size=count)
        frames = self.aspect ** rng.uniform(-1, 1, count)
        return [self._picture(rng, int(k), float(a)) for k, a in zip(labels, frames, strict=True)], torch.from_numpy(
            labels
        )

    def _picture(self, rng: np.random.Generator, label: int, frame: float) -> Tensor:
        stretch = list(STRETCHES.values())[label % len(STRETCHES)]
        H, W = (round((self.area * ratio) ** 0.5) for ratio in (1 / frame, frame))
        height = rng.uniform(*self.fill) * min(H, W / stretch)
        h, w = round(height), round(height * stretch)
        picture = self.noise * rng.standard_normal((H, W), np.float32)
        y, x = rng.integers(H - h + 1), rng.integers(W - w + 1)
        cover = stencil(self.shapes[label // len(STRETCHES)], w, h)
        picture[y : y + h, x : x + w] += rng.uniform(0.6, 1.0) * cover
        return torch.from_numpy(picture - 0.3)[None]
