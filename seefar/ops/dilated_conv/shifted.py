"""The cascade as sums of shifted copies, one product and sum for each tap: any dtype, any device."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(
    x: Tensor, low: Tensor, high: Tensor | None, tail: Tensor | None, past: Tensor | None, dilations: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """y and the past after the last token."""
    N, before = x.shape[1], low.shape[1] - 1
    reaches = [before * dilation for dilation in dilations]
    level, read, after = x, None, []
    pasts = [x.new_zeros(len(x), reach, x.shape[2]) for reach in reaches] if past is None else past.split(reaches, 1)
    for j, (dilation, reach) in enumerate(zip(dilations, reaches, strict=True)):
        seen = torch.cat([pasts[j], level], 1)
        shifts = [seen[:, reach - k * dilation :][:, :N] for k in range(before + 1)]
        level = _sum(low[j], shifts)
        if high is not None:
            tapped = _sum(high[j], shifts)
            read = tapped if read is None else read + tapped
        after.append(seen[:, N:])
    y = level if tail is None else tail * level
    return y if read is None else y + read, torch.cat(after, 1)


def _sum(taps_KD: Tensor, shifts: list[Tensor]) -> Tensor:
    total = taps_KD[0] * shifts[0]
    for tap, tokens in zip(taps_KD[1:], shifts[1:], strict=True):
        total = torch.addcmul(total, tap, tokens)
    return total
