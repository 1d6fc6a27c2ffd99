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
    for t in range(u.shape[1]):
        decay = torch.exp(dt[:, t, :, None] * A)
        h = decay * h + (dt[:, t] * u[:, t])[:, :, None] * B[:, t, None, :]
        rows.append((h * C[:, t, None, :]).sum(-1))
    y = torch.stack(rows, 1)
    if D is not None:
        y = y + D * u
    if z is not None:
        y = y * silu(z)
    return y, h
