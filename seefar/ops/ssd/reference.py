"""State space duality as a loop over tokens: any dtype, any device, autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T; y_t = h_t C_t; plus D x."""
    each = x.shape[2] // B.shape[2]
    B, C = (part.repeat_interleave(each, 2) for part in (B, C))
    rows = []
    for x_t, dt_t, B_t, C_t in zip(*(part.unbind(1) for part in (x, dt, B, C)), strict=True):
        decay, push = torch.exp(dt_t * A), dt_t[..., None] * x_t
        h = decay[..., None, None] * h + push[..., None] * B_t[:, :, None]
        rows.append((h * C_t[:, :, None]).sum(-1))
    y = torch.stack(rows, 1)
    return y if D is None else y + D[:, None] * x, h
