"""Pictures as words: the codes of frames in one row of tokens, with marks where a frame and where all vision ends.

T frames, n codes of each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CODES = 8192
"""Codes there are; END_OF_FRAME and END_OF_VISION come after them in the vocabulary of vision."""
END_OF_FRAME, END_OF_VISION = CODES, CODES + 1


class Row(NamedTuple):
    """Tokens of text and vision in one row.

    Args:
        ids: (N,) int64. vision: (N,) bool, which of them are of the vocabulary of vision, with a head of its own.
    """

    ids: Tensor
    vision: Tensor


def frame_row(codes: Tensor, opens: Tensor, closes: Tensor, *, most: int | None = None) -> Row:
    """A film as ``<vision>``, each frame's codes behind the other with a mark after each, ``</vision>``.

    The mark after the last frame is ``END_OF_VISION``, after the others ``END_OF_FRAME``.

    Args:
        codes: (T, n) int64.
        opens: (a,) tokens of the text that opens vision, ``<vision>``; ``closes`` those that close it.
        closes: (b,).
        most: frames at most, evenly spread from the first to the last; None for all.

    Raises:
        ValueError: no frame, or codes out of 0 ... 8191.

    Example:
        >>> row = frame_row(torch.tensor([[5, 6], [7, 8]]), torch.tensor([1]), torch.tensor([2]))
        >>> row.ids.tolist(), int(row.vision.sum())
        ([1, 5, 6, 8192, 7, 8, 8193, 2], 6)

    Reference: Liu et al., arXiv 2402.08268: 256 codes of a VQGAN for a frame of 256 x 256.
    """
    if codes.ndim != 2 or not codes.numel() or (most is not None and most < 1):
        raise ValueError(f"frame_row: needs codes (T, n) and room for a frame, got {tuple(codes.shape)} and {most=}")
    lowest, highest = int(codes.min()), int(codes.max())
    if lowest < 0 or highest >= CODES:
        raise ValueError(f"frame_row: codes go from 0 to {CODES - 1}, got {lowest} to {highest}")
    if most is not None and len(codes) > most:
        codes = codes[torch.linspace(0, len(codes) - 1, most, dtype=torch.float64).long()]
    ends = torch.full((len(codes), 1), END_OF_FRAME)
    ends[-1] = END_OF_VISION
    seen = torch.cat([codes, ends], 1).flatten()
    ids = torch.cat([opens, seen, closes])
    vision = torch.zeros(len(ids), dtype=torch.bool)
    vision[len(opens) : len(opens) + len(seen)] = True
    return Row(ids, vision)


def frames_of(row: Row) -> Tensor:
    """The codes (T, n) of a row, as ``frame_row`` laid them out.

    Raises:
        ValueError: the marks are not where frames of one size end.
    """
    seen = row.ids[row.vision]
    ends = (seen >= CODES).nonzero()[:, 0]
    size = int(ends[0]) + 1 if len(ends) else 0
    whole = size > 1 and len(seen) % size == 0 and ends.tolist() == list(range(size - 1, len(seen), size))
    if not whole or seen[-1] != END_OF_VISION or (seen[ends[:-1]] != END_OF_FRAME).any():
        raise ValueError(f"frames_of: marks stand at {ends.tolist()} of {len(seen)}; each frame ends in one, all alike")
    return seen.view(-1, size)[:, :-1]
