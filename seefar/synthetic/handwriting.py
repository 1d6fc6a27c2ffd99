"""Real handwritten digits: the 8 x 8 pictures of scikit-learn, every fifth one held out."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

SIDE, LEVELS = 8, 17
"""Rows and columns of a picture, and grey levels of a pixel."""


@cache
def handwriting(split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Grey levels (n, 8, 8) uint8 from 0 to 16 and labels (n,) int64; not to be written to.

    Args:
        split: "train" for 1437 of the 1797, "held-out" for the other 360.

    Raises:
        ValueError: an unknown split.
        ImportError: scikit-learn is missing.
    """
    if split not in ("train", "held-out"):
        raise ValueError(f"handwriting: split must be 'train' or 'held-out', got {split!r}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("handwritten digits need scikit-learn: pip install 'seefar[synthetic]'") from error
    data: Any = load_digits()
    mine = (np.arange(len(data.target)) % 5 == 0) == (split == "held-out")
    images, labels = data.images[mine].astype(np.uint8), data.target[mine].astype(np.int64)
    for array in (images, labels):
        array.flags.writeable = False
    return images, labels
