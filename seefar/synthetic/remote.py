"""Remote copy: one symbol is marked near the beginning of a text and asked for at its very end.

B samples, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.synthetic.recall import IGNORED

SYMBOLS = 16
MARK, ASK = 16, 17
VOCABULARY = 18


def remote_copy(count: int, segments: int, segment: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Random symbols; in the first segment one stands behind a mark, and the text ends with the question for it.

    Everything between is of the same symbols, so that only the mark tells the one to keep.

    Args:
        count: samples.
        segments: of a text; with one alone, all is told and asked in it.
        segment: tokens of each.
        seed: decides everything.

    Returns:
        ids (B, N) with N = segments x segment, the last two tokens being ``ASK`` and the symbol; and labels (B, N), the
        symbol at the last place and ``IGNORED`` elsewhere. Chance is 1 / ``SYMBOLS``.

    Raises:
        ValueError: nothing to make, or a segment too short for a mark, its symbol, the question and the answer.

    Example:
        >>> ids, labels = remote_copy(1, 2, 4, seed=0)
        >>> ids.shape, int(ids[0, -2]) == ASK, int(labels[0, -1]) == int(ids[0, -1])
        (torch.Size([1, 8]), True, True)
    """
    if count < 1 or segments < 1 or segment < 4:
        raise ValueError(
            f"remote_copy: needs a sample, a segment, and 4 tokens in each, got {count=}, {segments=}, {segment=}"
        )
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SYMBOLS, (count, segments * segment), generator=generator)
    rows = torch.arange(count)
    at = torch.randint(segment - 3, (count,), generator=generator)
    ids[rows, at] = MARK
    ids[:, -2], ids[:, -1] = ASK, ids[rows, at + 1]
    labels = torch.full_like(ids, IGNORED)
    labels[:, -1] = ids[:, -1]
    return ids, labels
