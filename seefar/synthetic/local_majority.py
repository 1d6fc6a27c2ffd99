"""Local majority: of a long sequence of bits only the last few count.

B sequences, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def local_majority(count: int, length: int, *, near: int = 9, seed: int) -> tuple[Tensor, Tensor]:
    """Say whether there are more ones than zeros among the last ``near`` bits; those before them are noise.

    Returns:
        (count, length) int64 bits, and (count,) int64, 1 where ones are more.

    Raises:
        ValueError: nothing to make, fewer bits than count, or an even number of them, in which a tie can be.

    Example:
        >>> bits, label = local_majority(1, 5, near=3, seed=0)
        >>> int(label) == int(bits[0, 2:].sum() >= 2)
        True
    """
    if count < 1 or not 1 <= near <= length or near % 2 == 0:
        raise ValueError(
            f"local_majority: needs a sequence and an odd number of bits that count, at most its length; "
            f"got {count=}, {length=}, {near=}"
        )
    bits = torch.randint(2, (count, length), generator=torch.Generator().manual_seed(seed))
    return bits, (2 * bits[:, -near:].sum(1) > near).long()
