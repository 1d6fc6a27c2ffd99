"""Handwritten digits that drift over a dark square and bounce off its edges, for as long as one likes: moving MNIST."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seefar.synthetic.shapes import digit as handwritten
from seefar.synthetic.story import SPLITS


def moving_digits(
    count: int,
    frames: int,
    *,
    seed: int | Sequence[int],
    size: int = 64,
    digits: int = 2,
    digit: int = 28,
    step: float = 0.15,
    split: str = "train",
) -> Tensor:
    """(count, frames, 1, size, size) clips in [0, 1]; where digits meet, the brighter one shows.

    A digit starts anywhere and goes straight on in any direction, by ``step`` of the way that it has between two
    edges; at an edge it stops short and turns that part of its direction round. It is drawn at whole pixels.

    Args:
        count: clips.
        frames: of a clip; a longer clip of the same seed begins as the shorter one.
        seed: decides everything.
        size: of the square, in pixels.
        digits: that move in it, each by itself.
        digit: side of one, in pixels.
        step: way of a frame.
        split: "train" or "held-out", whose samples of handwriting are others.

    Raises:
        ValueError: an unknown split, nothing to draw, or digits as large as the square.
        ImportError: scikit-learn, whose digits these are, is missing.

    Reference: Srivastava et al., arXiv 1502.04681, by the rules of the data of arXiv 2310.19694. Differs: digits of
    scikit-learn, 8 x 8 pixels enlarged, instead of MNIST's.
    """
    if split not in SPLITS:
        raise ValueError(f"moving_digits: split must be one of {SPLITS}, got {split!r}")
    if min(count, frames, digits) < 1 or step < 0:
        raise ValueError(
            "moving_digits: needs a clip, a frame and a digit, and a step of at least 0, got "
            f"{count=}, {frames=}, {digits=}, {step=}"
        )
    if not 1 <= digit < size:
        raise ValueError(f"moving_digits: a digit of {digit} pixels has no room to move in {size}; take a larger size")
    rng = np.random.default_rng([*np.atleast_1d(seed), SPLITS.index(split)])
    place, way = rng.random((count, digits, 2)), 2 * np.pi * rng.random((count, digits))
    value, which = rng.integers(10, size=(count, digits)), rng.integers(10_000, size=(count, digits))
    speed = step * np.stack([np.sin(way), np.cos(way)], -1)
    clips = np.zeros((count, frames, 1, size, size), np.float32)
    for t in range(frames):
        place += speed
        speed = np.where((place <= 0) | (place >= 1), -speed, speed)
        place = place.clip(0, 1)
        corner = ((size - digit) * place).astype(int)
        for i, j in np.ndindex(count, digits):
            y, x = corner[i, j]
            spot = clips[i, t, 0, y : y + digit, x : x + digit]
            np.maximum(spot, handwritten(int(value[i, j]), int(which[i, j]), digit, split), out=spot)
    return torch.from_numpy(clips)
