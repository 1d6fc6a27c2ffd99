"""A digit said over and over in one short stretch of a long random text, and asked for at its end.

B texts, N units of a text.
"""

from __future__ import annotations

import torch
from torch import Tensor

LETTERS = 24
DIGITS = 10
MARK, QUESTION = LETTERS + DIGITS, LETTERS + DIGITS + 1
VOCABULARY = LETTERS + DIGITS + 2


def wide_needles(
    count: int, length: int, *, width: int | None = None, last: int = 0, seed: int, world: int = 0
) -> Tensor:
    """(B, N) int64: letters, among them a needle ``mark digit mark digit ...``, then the question and the digit.

    Letters follow one another by a rule of chance, the same for all texts of a world, so that a model has something to
    learn of them: after each there are four, of which one comes in 7 cases of 10.

    Args:
        count: texts.
        length: N.
        width: units of the needle, even; 2, 4, 8 or 16 by chance where it is left out.
        last: units before the question in which no needle stands.
        seed: of the texts.
        world: of the rule.

    Raises:
        ValueError: no text, an odd width, a negative ``last``, or a text too short for its needle.
    """
    widest = 16 if width is None else width
    if count < 1 or widest < 2 or widest % 2 or last < 0 or length < widest + last + 3:
        raise ValueError(
            f"wide_needles: needs a text, an even width, and {widest + last + 3} units for it, "
            f"got {count=}, {width=}, {last=}, {length=}"
        )
    rule = torch.Generator().manual_seed(world)
    follow = torch.stack([torch.randperm(LETTERS, generator=rule)[:4] for _ in range(LETTERS)])
    draw = torch.Generator().manual_seed(seed)
    ids = torch.empty(count, length, dtype=torch.int64)
    letter = torch.randint(LETTERS, (count,), generator=draw)
    chances = torch.tensor([0.7, 0.1, 0.1, 0.1])
    which = torch.multinomial(chances.expand(count, -1), length, replacement=True, generator=draw)
    for t in range(length):
        ids[:, t] = letter
        letter = follow[letter, which[:, t]]
    digit = LETTERS + torch.randint(DIGITS, (count, 1), generator=draw)
    wide = 2 ** torch.randint(1, 5, (count, 1), generator=draw) if width is None else torch.full((count, 1), width)
    start = (torch.rand(count, 1, generator=draw) * (length - 2 - last - wide + 1)).long()
    place = torch.arange(length) - start
    needle = (place >= 0) & (place < wide)
    ids = torch.where(needle, torch.where(place % 2 == 0, MARK, digit), ids)
    ids[:, -2], ids[:, -1] = QUESTION, digit[:, 0]
    return ids
