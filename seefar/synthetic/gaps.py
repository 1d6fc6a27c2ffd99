"""Tasks with a gap: what has to be known at one token was told many tokens earlier, or will be told later.

B sequences, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def adding(count: int, length: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Add up the two numbers that are marked: one in the first half, one in the second.

    Returns:
        (count, length, 2) a number in [0, 1) and its mark, 0 or 1; and (count, 1) the sum of the marked ones. Always
        saying 1 has a mean squared error of 1/6.

    Raises:
        ValueError: nothing to make, or fewer than two tokens.

    Reference: Hochreiter and Schmidhuber 1997, as in Le et al., arXiv 1504.00941.
    """
    _check("adding", count, length, 2)
    generator = torch.Generator().manual_seed(seed)
    number_BN = torch.rand(count, length, generator=generator)
    middle = length // 2
    first, second = (torch.randint(high, (count,), generator=generator) for high in (middle, length - middle))
    mark_BN = one_hot(first, length) + one_hot(middle + second, length)
    return torch.stack([number_BN, mark_BN.float()], -1), (number_BN * mark_BN).sum(1, keepdim=True)


def echo(count: int, length: int, lag: int, *, symbols: int, seed: int) -> tuple[Tensor, Tensor]:
    """Say at each token which symbol stood ``lag`` tokens earlier, or will stand -lag tokens later.

    Returns:
        (count, length, symbols) the symbols, one-hot; and (count, length) int64, the symbol to say, -100 (which no loss
        counts) where there is none.

    Raises:
        ValueError: nothing to make, fewer than two symbols, or a lag as long as the sequence.
    """
    _check("echo", count, length, 1)
    if symbols < 2 or abs(lag) >= length:
        raise ValueError(f"echo: needs 2 symbols and |lag| below {length=}, got {symbols=} and {lag=}")
    said_BN = torch.randint(symbols, (count, length), generator=torch.Generator().manual_seed(seed))
    label_BN = said_BN.roll(lag, 1)
    if lag > 0:
        label_BN[:, :lag] = -100
    elif lag < 0:
        label_BN[:, lag:] = -100
    return one_hot(said_BN, symbols).float(), label_BN


def parity(count: int, length: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Say whether the ones so far are odd in number: every bit of the past counts.

    Returns:
        (count, length, 1) bits; and (count, length) int64, their parity up to each token.

    Raises:
        ValueError: nothing to make.
    """
    _check("parity", count, length, 1)
    bit_BN = torch.randint(2, (count, length), generator=torch.Generator().manual_seed(seed))
    return bit_BN[..., None].float(), bit_BN.cumsum(1) % 2


def _check(task: str, count: int, length: int, least: int) -> None:
    if count < 1 or length < least:
        raise ValueError(f"{task}: needs a sequence and at least {least} tokens, got {count=} and {length=}")
