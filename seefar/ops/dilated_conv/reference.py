"""The cascade as a loop over levels, tokens and taps: any dtype, any device, never faster than it is clear."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(
    x: Tensor, low: Tensor, high: Tensor | None, tail: Tensor | None, past: Tensor | None, dilations: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """y and the past after the last token."""
    (J, K, _), N = low.shape, x.shape[1]
    reaches = [(K - 1) * dilation for dilation in dilations]
    before = [x.new_zeros(len(x), reach, x.shape[2]) for reach in reaches] if past is None else past.split(reaches, 1)
    level, read, after = list(x.unbind(1)), [torch.zeros_like(x[:, 0])] * N, []
    for j in range(J):
        seen = [*before[j].unbind(1), *level]
        for t in range(N):
            tokens = [seen[reaches[j] + t - k * dilations[j]] for k in range(K)]
            level[t] = sum((low[j, k] * tokens[k] for k in range(K)), torch.zeros_like(tokens[0]))
            if high is not None:
                read[t] = read[t] + sum((high[j, k] * tokens[k] for k in range(K)), torch.zeros_like(tokens[0]))
        after += seen[N:]
    y = torch.stack([r + (a if tail is None else tail * a) for r, a in zip(read, level, strict=True)], 1)
    return y, torch.stack(after, 1) if after else x[:, :0]
