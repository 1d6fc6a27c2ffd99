"""Associative recall: keys and values given one pair at a time, then a question about one of the keys.

B samples, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SYMBOLS = 16
SEPARATOR, QUESTION, END = 100, 101, 102
VOCABULARY = 103
IGNORED = -100
"""A label that no loss counts, as in PyTorch and transformers."""


@dataclass(frozen=True)
class RecallTask:
    """Samples of the task as numbers and as token ids.

    Args:
        keys: (B, P, key_size) symbols.
        values: (B, P, value_size) symbols.
        asked: (B,) the pair that holds the answer.
    """

    keys: Tensor
    values: Tensor
    asked: Tensor

    @property
    def segment(self) -> int:
        """Tokens of a pair, and of the question with its answer: key, separator, value, end."""
        return self.keys.shape[2] + self.values.shape[2] + 2

    @property
    def ids(self) -> Tensor:
        """(B, (P + 1) segment): ``key 100 value 102`` for every pair, then ``key 101 value 102``."""
        B, P, _ = self.keys.shape
        mark = self.keys.new_ones(B, P, 1)
        pairs = torch.cat([self.keys, SEPARATOR * mark, self.values, END * mark], -1).flatten(1)
        row = torch.arange(B)
        key, value = self.keys[row, self.asked], self.values[row, self.asked]
        return torch.cat([pairs, key, QUESTION * mark[:, 0], value, END * mark[:, 0]], 1)

    @property
    def labels(self) -> Tensor:
        """(B, (P + 1) segment): the answer and the end after it, all else ``IGNORED``."""
        ids, answer = self.ids, self.values.shape[2] + 1
        return torch.cat([torch.full_like(ids[:, :-answer], IGNORED), ids[:, -answer:]], 1)

    @property
    def latest(self) -> Tensor:
        """(B, P) the pairs whose value holds, because no later pair has their key."""
        return _latest(self.keys)

    def found_by(self, logits: Tensor) -> Tensor:
        """(B,) whether the likeliest tokens of logits (B, .., V) over ``ids`` give value and end, as in exact match."""
        answer = self.values.shape[2] + 1
        return (logits[:, -answer - 1 : -1].argmax(-1) == self.ids[:, -answer:]).all(-1)


def associative_recall(count: int, pairs: int, *, key_size: int, value_size: int = 1, seed: int) -> RecallTask:
    """Each key comes once; any of them may be asked for.

    Args:
        count: samples.
        pairs: of each.
        key_size: symbols of a key, 16 to choose from for each.
        value_size: symbols of a value.
        seed: decides everything.

    Raises:
        ValueError: fewer keys than pairs, or nothing to make.

    Reference: Rodkin et al., arXiv 2407.04841; format of its code.
    """
    _check(count, pairs, key_size, value_size)
    if SYMBOLS**key_size < pairs:
        raise ValueError(
            f"associative_recall: {pairs} pairs need as many keys, keys of {key_size=} are {SYMBOLS**key_size}; "
            f"use a larger key_size, or rewriting_recall where keys come again"
        )
    generator = torch.Generator().manual_seed(seed)
    which = torch.stack([torch.randperm(SYMBOLS**key_size, generator=generator)[:pairs] for _ in range(count)])
    place = SYMBOLS ** torch.arange(key_size)
    return _task(which[..., None] // place % SYMBOLS, value_size, generator)


def rewriting_recall(count: int, pairs: int, *, key_size: int, value_size: int = 1, seed: int) -> RecallTask:
    """Keys are drawn anew for every pair and may come again; a key's last value counts, all keys are asked alike often.

    Arguments, errors and format are those of ``associative_recall``; there may be more pairs than keys.
    """
    _check(count, pairs, key_size, value_size)
    generator = torch.Generator().manual_seed(seed)
    return _task(torch.randint(SYMBOLS, (count, pairs, key_size), generator=generator), value_size, generator)


def as_numbers(symbols: Tensor) -> Tensor:
    """(B, P) which of all keys, or values, of so many symbols each one of (B, P, size) is."""
    return (symbols * SYMBOLS ** torch.arange(symbols.shape[2])).sum(-1)


def _task(keys: Tensor, value_size: int, generator: torch.Generator) -> RecallTask:
    values = torch.randint(SYMBOLS, (*keys.shape[:2], value_size), generator=generator)
    asked = torch.multinomial(_latest(keys).double(), 1, generator=generator)[:, 0]
    return RecallTask(keys, values, asked)


def _latest(keys: Tensor) -> Tensor:
    number = as_numbers(keys)
    same = number[:, :, None] == number[:, None, :]
    return ~same.triu(1).any(-1)


def _check(count: int, pairs: int, key_size: int, value_size: int) -> None:
    if min(count, pairs, key_size, value_size) < 1:
        raise ValueError(f"recall: every size must be at least 1, got {count=}, {pairs=}, {key_size=}, {value_size=}")
