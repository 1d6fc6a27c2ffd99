"""Real handwritten digits as sequences of pixels, one pixel a token."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.synthetic.handwriting import SIDE, handwriting


def digit_pixels(split: str = "train", *, side: int = 8) -> tuple[Tensor, Tensor]:
    """Pixels (n, side^2, 1) in [-1, 1], row by row, and labels (n,): the 8 x 8 digits of scikit-learn, enlarged.

    Every fifth digit is held out, 360 of 1797.

    Args:
        split: "train" or "held-out".
        side: of the picture in pixels; between the 8 x 8 they are interpolated.

    Raises:
        ValueError: an unknown split, or a side below 8.
        ImportError: scikit-learn is missing.
    """
    if side < SIDE:
        raise ValueError(f"digit_pixels: the digits are 8 x 8, a side must be at least 8, got {side}")
    grey, labels = handwriting(split)
    images = torch.tensor(grey, dtype=torch.float32)[:, None] / 8 - 1
    if side > SIDE:
        images = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return images.flatten(1)[..., None], torch.tensor(labels)
