"""How a convolution is cut up for transforms by matrix products: which factors, which frequencies, how many pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SLIDE = 4
"""By default a transform is at most so many times as long as the filter; longer sequences pass in pieces."""


@dataclass(frozen=True)
class Plan:
    """Transforms of n = N_1 ... N_p numbers; frequency f = k_1 + N_1 k_2 + N_1 N_2 k_3 ... has the digits k_i < N_i.

    Args:
        factors: N_i.
        kept: c_i, only frequencies with all digits k_i < c_i (and f <= n / 2) are ever computed.
        tokens: of the sequence.
        taps: of the filter.
        sparse: frequencies were left out on purpose.
    """

    factors: tuple[int, ...]
    kept: tuple[int, ...]
    tokens: int
    taps: int
    sparse: bool

    @property
    def size(self) -> int:
        """n."""
        return math.prod(self.factors)

    @property
    def slides(self) -> bool:
        """The sequence is longer than one transform: it passes in pieces, each with the last taps - 1 inputs before."""
        return self.size < self.tokens + self.taps - 1

    @property
    def step(self) -> int:
        """Tokens of a piece."""
        return self.size - self.taps + 1 if self.slides else self.tokens

    @property
    def pieces(self) -> int:
        return -(-self.tokens // self.step)

    def frequencies(self, device: torch.device | None = None) -> Tensor:
        """(n // 2 + 1,) bool, those of a real transform that are kept."""
        rest = torch.arange(self.size // 2 + 1, device=device)
        kept = torch.ones_like(rest, dtype=torch.bool)
        for factor, count in zip(self.factors, self.kept, strict=True):
            kept &= rest % factor < count
            rest = rest // factor
        return kept

    def weights(self, device: torch.device | None = None) -> Tensor:
        """(c_1, ..., c_p) float64: 1 at f = 0 and n / 2, 2 between, where the mirror image is meant too, else 0."""
        place = torch.zeros((), dtype=torch.int64, device=device)
        apart = 1
        for factor, count in zip(self.factors, self.kept, strict=True):
            place = place[..., None] + apart * torch.arange(count, device=device)
            apart *= factor
        alone = (place == 0) | (2 * place == self.size)
        return torch.where(2 * place > self.size, 0.0, torch.where(alone, 1.0, 2.0)).double()

    def multiply_adds(self, rows: int, channels: int) -> int:
        """Real multiply-adds of all products with transform matrices in one forward pass, the filter's included.

        A stage on complex numbers takes 4 c_1 ... c_i N_i ... N_p for each row and channel; the first of a transform
        and the last of an inverse, real on one side, take half of it, less the columns that are known to be zero.
        """

        def there(length: int) -> int:
            total, before, left = 0, 1, self.size
            for i, (factor, count) in enumerate(zip(self.factors, self.kept, strict=True)):
                left //= factor
                used = -(-length // left) if i == 0 else 2 * factor
                total += 2 * before * count * used * left
                before *= count
            return total

        one = 2 * there(self.size if self.slides else self.tokens)
        return channels * (rows * self.pieces * one + there(self.taps))


def planned(
    tokens: int, taps: int, factors: Sequence[int] | None = None, keep_freq: Sequence[int] | None = None
) -> Plan:
    """The transforms for so many tokens and taps.

    Raises:
        ValueError: factors that are too short or no factors; frequencies that are none.
    """
    if factors is None:
        if keep_freq is not None:
            raise ValueError("fft_conv: keep_freq counts digits of frequencies by factors; give factors=(32, 32) too")
        factors = default_factors(min(tokens + taps - 1, SLIDE * taps))
    factors = tuple(factors)
    if not factors or any(isinstance(f, bool) or not isinstance(f, int) or f < 2 for f in factors):
        raise ValueError(f"fft_conv: factors must be ints of at least 2, such as (32, 32, 32), got {factors}")
    size, whole = math.prod(factors), tokens + taps - 1
    if size < whole and (keep_freq is not None or size < 2 * taps):
        raise ValueError(
            f"fft_conv: factors {factors} make a transform of {size}, but {tokens} tokens and {taps} taps need "
            f"{whole}, or the end would meet the start; give factors={default_factors(whole)}, or fewer taps by "
            "keep_time"
        )
    kept = factors if keep_freq is None else tuple(keep_freq)
    if len(kept) != len(factors) or any(not 1 <= c <= f for c, f in zip(kept, factors, strict=False)):
        raise ValueError(f"fft_conv: keep_freq has a count from 1 to N_i for each of {factors}, got {kept}")
    half = (*kept[:-1], min(kept[-1], factors[-1] // 2 + 1))  # the upper half mirrors the lower one
    return Plan(factors, half, tokens, taps, sparse=keep_freq is not None)


def default_factors(least: int) -> tuple[int, ...]:
    """Powers of two, as equal as can be and at most 32, whose product is the next power of two.

    >>> default_factors(4096), default_factors(8000), default_factors(700), default_factors(100_000)
    ((16, 16, 16), (32, 16, 16), (32, 32), (32, 16, 16, 16))
    """
    bits = max(2, (least - 1).bit_length())
    count = max(2, -(-bits // 5))
    return tuple(2 ** (bits // count + (i < bits % count)) for i in range(count))
