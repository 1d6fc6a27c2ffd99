"""Real handwritten digits as text: each pixel a word of seventeen, picture after picture."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.synthetic.handwriting import handwriting

PIXELS = 64
"""Words of a picture, row by row."""


def digit_words(count: int, pictures: int, *, split: str = "train", seed: int) -> Tensor:
    """Ids (count, 64 pictures) int64 of pictures drawn at random from scikit-learn's 8 x 8 digits.

    Args:
        count: texts.
        pictures: of each.
        split: "train" or "held-out", every fifth picture.
        seed: decides everything.

    Raises:
        ValueError: an unknown split, or nothing to draw.
        ImportError: scikit-learn is missing.
    """
    if min(count, pictures) < 1:
        raise ValueError(f"digit_words: needs a text and a picture, got {count=}, {pictures=}")
    ids = torch.tensor(handwriting(split)[0], dtype=torch.int64).flatten(1)
    generator = torch.Generator().manual_seed(seed)
    return ids[torch.randint(len(ids), (count, pictures), generator=generator)].flatten(1)
