"""Pictures of bytes to be read pixel by pixel: a strip of frames, one under the other, in which a digit moves on.

B pictures, F frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.synthetic.handwriting import SIDE, handwriting


def digit_strips(count: int, *, frames: int = 3, width: int = 12, held_out: bool = False, seed: int) -> Tensor:
    """(count, frames * 8, width) int64 grey levels: a handwritten digit, one pixel further right in each frame.

    From the second frame on, a pixel is that of a frame above and a column to the left: all that is new is in the first
    frame, and all the rest stands 8 width + 1 pixels back.

    Args:
        count: B.
        frames: F.
        width: columns of the picture; the digit begins at any place from which it stays inside.
        held_out: digits from the fifth of scikit-learn's digits that are for tests, instead of the others.
        seed: decides everything.

    Raises:
        ValueError: a digit of 8 columns does not stay inside for so many frames, or nothing to make.
    """
    room = width - SIDE - (frames - 1)
    if min(count, frames) < 1 or room < 0:
        raise ValueError(
            f"digit_strips: {frames} frames need a width of at least {SIDE + frames - 1}, and count at least 1; "
            f"got {width=}, {count=}"
        )
    generator = torch.Generator().manual_seed(seed)
    grey, _ = handwriting("held-out" if held_out else "train")
    digits = torch.tensor(grey, dtype=torch.int64)[torch.randint(len(grey), (count,), generator=generator)]
    start = torch.randint(room + 1, (count,), generator=generator)
    columns = start[:, None, None] + torch.arange(frames)[:, None] + torch.arange(SIDE)  # (B, F, 8)
    pictures = torch.zeros(count, frames, SIDE, width, dtype=torch.int64)
    index = columns[:, :, None].expand(-1, -1, SIDE, -1)
    return pictures.scatter_(3, index, digits[:, None].expand(-1, frames, -1, -1)).flatten(1, 2)
