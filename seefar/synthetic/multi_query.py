"""Multi-query associative recall: many pairs are told, and each key is asked for again some way on.

B texts, N tokens, P pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Queries(NamedTuple):
    """Texts with their questions.

    Args:
        ids: (B, N) int64; 0 is filler, keys are 1 ... keys, values come after them.
        answers: (B, N) int64, the value to say at a key that is asked for, -100 elsewhere.
    """

    ids: Tensor
    answers: Tensor

    def found_by(self, logits: Tensor) -> Tensor:
        """Share of the questions whose likeliest word by logits (B, N, V) is the value."""
        asked = self.answers >= 0
        return (logits.argmax(-1) == self.answers)[asked].double().mean()


def multi_query_recall(count: int, length: int, pairs: int, *, keys: int = 64, values: int = 64, seed: int) -> Queries:
    """P keys, each followed by its value; then every key once more, in any order, among filler.

    A model of the next word learns it from every question at once, and has to hold all P pairs to answer.

    Args:
        count: B.
        length: N, at least 3 P.
        pairs: P, with different keys.
        keys: that there are.
        values: that there are; the vocabulary has 1 + keys + values words.
        seed: decides everything.

    Raises:
        ValueError: more pairs than keys, or than the length has room for.

    Reference: Arora et al., Zoology, arXiv 2312.04927. Differs: the places of questions are drawn evenly, not by a
    power law, and filler is one word.
    """
    if min(count, pairs, values) < 1 or pairs > keys or length < 3 * pairs:
        raise ValueError(
            f"multi_query_recall: {pairs} pairs take as many keys and a length of {3 * pairs} at least; got {count=}, "
            f"{keys=}, {values=}, {length=}"
        )
    generator = torch.Generator().manual_seed(seed)
    key_BP = torch.rand(count, keys, generator=generator).argsort(1)[:, :pairs] + 1
    value_BP = torch.randint(1 + keys, 1 + keys + values, (count, pairs), generator=generator)
    ids = torch.zeros(count, length, dtype=torch.int64)
    ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2] = key_BP, value_BP
    place_BP = 2 * pairs + torch.rand(count, length - 2 * pairs, generator=generator).argsort(1)[:, :pairs]
    answers = torch.full_like(ids, -100).scatter_(1, place_BP, value_BP)
    return Queries(ids.scatter_(1, place_BP, key_BP), answers)
