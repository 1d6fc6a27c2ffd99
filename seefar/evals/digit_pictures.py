"""Real handwritten digits as pictures, in batches for ``protocols.classification``."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.synthetic.digit_pixels import digit_pixels


def digit_batch(seed: int, step: int, *, batch: int = 64, side: int = 8) -> tuple[Tensor, Tensor]:
    """Pictures (batch, 1, side, side) in [-1, 1] and labels (batch,), drawn from the digits for training.

    Args:
        seed: of the run.
        step: of training.
        batch: digits.
        side: of the pictures, 8 at least.
    """
    pixels, labels = digit_pixels("train", side=side)
    rows = torch.randint(len(pixels), (batch,), generator=torch.Generator().manual_seed(100_000 * (seed + 1) + step))
    return pixels[rows].reshape(-1, 1, side, side), labels[rows]


def digit_test(seed: int, *, side: int = 8, tests: int = 360) -> tuple[Tensor, Tensor]:
    """The same of the held-out digits, 360 at most, whatever the seed."""
    pixels, labels = (part[:tests] for part in digit_pixels("held-out", side=side))
    return pixels.reshape(-1, 1, side, side), labels
