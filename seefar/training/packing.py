"""Examples of any length in rows of one length, each as if alone: no attention between them, and each counts as much.

B rows, N tokens of a row, M examples, n tokens of one, V words there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.embed.native import first_fit

PADDING = -1
Weights = Literal["example", "token"]


class Example(NamedTuple):
    """Tokens, and which of them are to be learnt.

    Args:
        ids: (n,) int64.
        answer: (n,) bool; not the first, which nothing stands before.
    """

    ids: Tensor
    answer: Tensor


class Packed(NamedTuple):
    """Rows of examples.

    Args:
        ids: (B, N) int64; padding is 0.
        segments: (B, N) int64, the number of each token's example in the order of ``pack``'s, ``PADDING`` where there
            is none; one number for a whole row where examples are not kept apart.
        places: (B, N) int64, which token of its example each one is, for positions that are not relative.
        weights: (B, N) float32, what the loss at each token counts, as that which is foretold; their sum is 1.
    """

    ids: Tensor
    segments: Tensor
    places: Tensor
    weights: Tensor

    def loss(self, logits: Tensor) -> Tensor:
        """Nats of the answers by logits (B, N, V) over ``ids``, weighted."""
        nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), self.ids[:, 1:], reduction="none")
        return (nats * self.weights[:, 1:].to(nats.dtype)).sum()


def pack(
    examples: Sequence[Example],
    length: int,
    *,
    rows: int | None = None,
    weights: Weights = "example",
    isolate: bool = True,
) -> Packed:
    """Put examples into rows, several to a row, none of them split (``first_fit`` in the given order).

    A token weighs 1 / (M m) where m tokens of its example are answers: then the loss is the mean of the losses that the
    examples would have in rows of their own, and a short answer counts as much as a long one. By tokens it weighs
    1 / sum of all m, and long answers drown short ones. Keep examples apart by giving ``segments`` to attention, on one
    device or on a ring.

    Args:
        examples: M of them.
        length: N.
        rows: B, and examples that find no room are left out and count nowhere; None for as many rows as it takes.
        weights: by example, or by token.
        isolate: False lets examples of a row see each other, as if they were one text.

    Raises:
        ValueError: no example, one that is longer than a row, has no answer, or begins with one.

    Example:
        >>> ids, answer = torch.arange(1, 5), torch.tensor([False, False, True, True])
        >>> short = Example(torch.tensor([7, 8]), torch.tensor([False, True]))
        >>> packed = pack([Example(ids, answer), short], 7)
        >>> packed.segments.tolist(), packed.weights.tolist()
        ([[0, 0, 0, 0, 1, 1, -1]], [[0.0, 0.0, 0.25, 0.25, 0.0, 0.5, 0.0]])

    Reference: Liu et al., World Model on Million-Length Video and Language with Blockwise RingAttention, arXiv
    2402.08268, masked sequence packing.
    """
    if weights not in ("example", "token"):
        raise ValueError(f"pack: weights are by 'example' or by 'token', got {weights!r}")
    _check(examples, length)
    filled = first_fit([len(example.ids) for example in examples], length, rows)
    used = [number for row in filled for number in row]
    if not used:
        raise ValueError(f"pack: none of {len(examples)} examples found room; give at least one row")
    answers = sum(int(examples[number].answer.sum()) for number in used)
    shape = len(filled), length
    packed = Packed(
        torch.zeros(shape, dtype=torch.int64),
        torch.full(shape, PADDING),
        torch.zeros(shape, dtype=torch.int64),
        torch.zeros(shape),
    )
    for row, numbers in enumerate(filled):
        start = 0
        for number in numbers:
            ids, answer = examples[number]
            span = slice(start, start := start + len(ids))
            each = len(used) * int(answer.sum()) if weights == "example" else answers
            packed.ids[row, span] = ids
            packed.segments[row, span] = number if isolate else row
            packed.places[row, span] = torch.arange(len(ids)) + (0 if isolate else span.start)
            packed.weights[row, span] = answer / each
    return packed


def _check(examples: Sequence[Example], length: int) -> None:
    if not examples:
        raise ValueError("pack: needs at least one example, got none")
    for number, (ids, answer) in enumerate(examples):
        if ids.ndim != 1 or ids.shape != answer.shape or answer.dtype != torch.bool:
            raise ValueError(
                f"pack: example {number} needs ids (n,) and answer (n,) bool, got {tuple(ids.shape)} and "
                f"{tuple(answer.shape)} {answer.dtype}"
            )
        if len(ids) > length:
            raise ValueError(
                f"pack: example {number} has {len(ids)} tokens, a row {length}; cut it, or give longer rows"
            )
        if not answer.any() or answer[0]:
            raise ValueError(f"pack: example {number} needs an answer, and not as its first token")
