"""Procedures: videos, as features of frames, in which the same three steps are done in one of four orders."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.sequence import VisualSequence

ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0))
"""The steps of each class; which steps there are tells nothing about the class."""
STEP = (2, 3)
"""Shortest and longest step, in frames."""
SHORTEST = 3 * STEP[1] + 4
"""Frames of the shortest video: three steps, and a frame of waiting around each."""


def procedures(
    count: int, frames: int, *, slots: int = 2, dim: int = 16, noise: float = 0.2, seed: int
) -> tuple[VisualSequence, Tensor]:
    """Features of videos, a raster of ``slots`` columns at one frame a second, and their classes (count,) int64.

    A video has a scene of its own, a vector for each slot that is there in every frame. While a step is done, the
    step's vectors (those of all videos alike) are added. Steps take two or three frames however long the video is;
    what is left is waiting before, between and after them: a tenth of the video each (rounded down, but a frame at
    least), and the rest shared out at random.

        x_ts = scene_s + step_{k(t),s} + noise e_ts,    e ~ N(0, 1),    scene ~ N(0, 1 / 4),    step ~ N(0, 16)

    Args:
        count: videos.
        frames: length of each, ``SHORTEST`` or more.
        slots: tokens a frame.
        dim: width.
        noise: deviation of what changes from frame to frame.
        seed: decides everything but the vectors of the steps.

    Raises:
        ValueError: a video too short for its steps.
    """
    if frames < SHORTEST:
        raise ValueError(f"procedures: three steps and what is around them need {SHORTEST} frames, got {frames}")
    steps = 4 * torch.randn(3, slots, dim, generator=torch.Generator().manual_seed(5903))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(ORDERS), (count,), generator=random)
    lengths = torch.randint(STEP[0], STEP[1] + 1, (count, 3), generator=random)
    wait = max(1, frames // 10)
    spare = frames - lengths.sum(1, keepdim=True) - 4 * wait
    cuts = (torch.rand(count, 3, generator=random) * (spare + 1)).long().sort(1).values
    starts = cuts + wait * torch.arange(1, 4) + lengths.cumsum(1) - lengths
    t = torch.arange(frames)[None, :, None]
    during = (t >= starts[:, None]) & (t < (starts + lengths)[:, None])
    done = torch.tensor(ORDERS)[labels]
    scene = torch.randn(count, 1, slots, dim, generator=random)
    x = scene / 2 + torch.einsum("btk,bksd->btsd", during.float(), steps[done])
    x = x + noise * torch.randn(x.shape, generator=random)
    return VisualSequence.of_grid(x[:, :, None], torch.arange(frames)), labels
