"""The selective scan as a loop over tokens: any dtype, any device, autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, h: Tensor
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t; y_t = C_t . h_t + D u_t; gated by silu(z)."""
    rows = []
    for u_t, dt_t, B_t, C_t in zip(*(x.unbind(1) for x in (u, dt, B, C)), strict=True):
        h = torch.exp(dt_t[..., None] * A) * h + (dt_t * u_t)[..., None] * B_t[:, None]
        rows.append((h * C_t[:, None]).sum(-1))
    y = torch.stack(rows, 1)
    if D is not None:
        y = y + D * u
    if z is not None:
        y = y * silu(z)
    return y, h
