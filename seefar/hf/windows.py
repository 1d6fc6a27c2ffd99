"""A text longer than an encoder reads, in windows that overlap: of each window only the middle is kept.

N tokens, D width of a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn


class Window(NamedTuple):
    """Tokens start .. stop are read together; of their states those of first .. last are kept. All ends are open."""

    start: int
    stop: int
    first: int
    last: int


def windows(length: int, size: int, overlap: float = 0.5) -> list[Window]:
    """Windows of one size over a text, whose kept parts make up the text, each token once.

    A margin of overlap * size / 2 is left out on each side, but for the text's own beginning and end; the last window
    is moved back so that it is full. A text no longer than a window is one window.

    Raises:
        ValueError: no text, or an overlap that is not in [0, 1) or leaves nothing to keep.

    Example:
        >>> [tuple(window) for window in windows(10, 4, 0.5)]
        [(0, 4, 0, 3), (2, 6, 3, 5), (4, 8, 5, 7), (6, 10, 7, 10)]

    Reference: Ivgi et al., SLED, arXiv 2208.00748; Bertsch et al., Unlimiformer, arXiv 2305.01625.
    """
    margin = int(size * overlap / 2)
    stride = size - 2 * margin
    if length < 1 or size < 1 or not 0 <= overlap < 1 or stride < 1:
        raise ValueError(
            f"windows: needs a text, and an overlap in [0, 1) that leaves tokens to keep, got {length=}, {size=}, "
            f"{overlap=}"
        )
    starts = [*range(0, length - size, stride), max(0, length - size)]
    lasts = [start + size - margin for start in starts[:-1]] + [length]
    firsts = [0, *lasts[:-1]]
    return [Window(a, min(length, a + size), b, c) for a, b, c in zip(starts, firsts, lasts, strict=True)]


def states_in_windows(
    encoder: nn.Module, ids: Tensor, size: int, *, overlap: float = 0.5, at_once: int = 16
) -> Iterator[Tensor]:
    """The encoder's last states (n, D) of a text (N,), piece by piece in its order, N of them in all.

    Args:
        encoder: of a model of transformers.
        ids: without padding.
        size: tokens of a window.
        overlap: share of a window that its neighbours read too.
        at_once: windows that are encoded together.
    """
    parts = windows(len(ids), size, overlap)
    for begin in range(0, len(parts), at_once):
        some = parts[begin : begin + at_once]
        rows = torch.stack([ids[window.start : window.stop] for window in some])
        states = encoder(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state
        for window, row in zip(some, states, strict=True):
            yield row[window.first - window.start : window.last - window.start]
