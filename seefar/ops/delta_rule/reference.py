"""The delta rule as a loop over tokens: any dtype, any device, autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, S: Tensor, decay: Tensor | None) -> tuple[Tensor, Tensor]:
    """S = g_t S_{t-1}; S_t = S + k_t (beta_t (v_t - k_t S))^T; o_t = q_t S_t."""
    rows = []
    for t in range(q.shape[2]):
        if decay is not None:
            S = decay[:, :, t, None, None] * S
        key = k[:, :, t, :, None]
        change = beta[:, :, t, None] * (v[:, :, t] - (key * S).sum(2))
        S = S + key * change[:, :, None]
        rows.append((q[:, :, t, :, None] * S).sum(2))
    return torch.stack(rows, 2), S
