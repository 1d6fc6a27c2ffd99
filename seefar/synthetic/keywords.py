"""Keyword summaries: a long text in which each topic is named by one word, among words that say nothing.

B texts, N words of one, T topics.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAD, START, END = 0, 1, 2
WORDS = 16
"""That a topic may be named by."""
FILLER = 32
"""Words that say nothing."""


def vocabulary(topics: int) -> int:
    """Words there are: pad, start and end, those of each topic, and filler."""
    return 3 + WORDS * topics + FILLER


def keyword_summary(count: int, length: int, topics: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Texts and their summaries: the word of the first topic, of the second, and so on, wherever they stood.

    Args:
        count: B.
        length: N.
        topics: T, each named once at a place of its own.
        seed: decides everything.

    Returns:
        (B, N) int64 without padding, and (B, T + 1) int64: the words in order of their topics, then the end.

    Raises:
        ValueError: nothing to make, or a text too short for its topics.

    Example:
        >>> ids, summary = keyword_summary(1, 10, 2, seed=0)
        >>> ids.shape, [int((ids == word).sum()) for word in summary[0, :2]], int(summary[0, 2]) == END
        (torch.Size([1, 10]), [1, 1], True)
    """
    if min(count, topics) < 1 or length < topics:
        raise ValueError(f"keyword_summary: {topics} topics take a text of {topics} words, got {count=}, {length=}")
    draw = torch.Generator().manual_seed(seed)
    ids = 3 + WORDS * topics + torch.randint(FILLER, (count, length), generator=draw)
    said = 3 + WORDS * torch.arange(topics) + torch.randint(WORDS, (count, topics), generator=draw)
    places = torch.stack([torch.randperm(length, generator=draw)[:topics] for _ in range(count)])
    return ids.scatter_(1, places, said), torch.cat([said, said.new_full((count, 1), END)], 1)
