"""The definition: a sum over the past; with frequencies left out, around a ring with what is left of the filter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seefar.ops.fft_conv.plan import Plan
from seefar.ops.long_conv import long_conv


def cannot_run(*_: Tensor | None) -> None:
    """Always runs."""


def run(u: Tensor, k: Tensor, pre: Tensor | None, post: Tensor | None, plan: Plan) -> Tensor:
    """post * (k conv (pre * u)), one token at a time."""
    x = u if pre is None else pre * u
    if plan.sparse:
        ring = _left_of(k, plan)
        tokens = [sum(ring[(t - s) % plan.size] * x[:, s] for s in range(plan.tokens)) for t in range(plan.tokens)]
        y = torch.stack(tokens, 1)  # type: ignore[arg-type]
    else:
        y = long_conv(x, k, backend="reference")
    return y if post is None else post * y


def _left_of(k: Tensor, plan: Plan) -> Tensor:
    """(n, ...) taps: sum_f w_f / n sum_s k_s cos(2 pi f (t - s) / n), w = 1 for f = 0 and n / 2, else 2."""
    n, taps = plan.size, []
    place = torch.arange(len(k), device=k.device)
    frequencies = [f for f, kept in enumerate(plan.frequencies().tolist()) if kept]
    for t in range(n):
        weight = torch.zeros(len(k), dtype=torch.float64, device=k.device)
        for f in frequencies:
            wave = torch.cos(2 * math.pi / n * (f * (t - place) % n).double())
            weight += wave * (1 if f == 0 or 2 * f == n else 2) / n
        taps.append(torch.einsum("s,s...->...", weight.to(k.dtype), k))
    return torch.stack(taps)
