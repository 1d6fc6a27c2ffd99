"""Majority: every token of a sequence counts the same, and none says the answer.

B sequences, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def majority(count: int, length: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Say whether more ones than zeros came.

    The share of ones is even over [0, 1), so that answers are balanced and few sequences are close to a tie.

    Returns:
        (count, length, 2) bits, one-hot; and (count,) int64, 1 where ones are more.

    Raises:
        ValueError: nothing to make, or an even length, in which a tie can be.

    Reference: as in Honarpisheh et al., arXiv 2502.01473. Differs: the share of ones is drawn too; bits that are ones
    half of the time leave answers to a few tokens more or less.
    """
    if count < 1 or length < 1 or length % 2 == 0:
        raise ValueError(f"majority: needs a sequence and an odd number of tokens, got {count=} and {length=}")
    generator = torch.Generator().manual_seed(seed)
    share_B = torch.rand(count, 1, generator=generator)
    bit_BN = torch.rand(count, length, generator=generator) < share_B
    return one_hot(bit_BN.long(), 2).float(), (2 * bit_BN.sum(1) > length).long()
