"""The matrix as a loop over tokens, and a second loop from the end where later tokens are read too."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, S: Tensor, decay: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """S_t = g_t S_{t-1} + k_t v_t^T; o_t = q_t S_t; plus q_t R_t with R_t = g_{t+1} (R_{t+1} + k_{t+1} v_{t+1}^T)."""
    N = q.shape[2]
    gates = (
        q.new_ones(1, 1, N) if decay is None else decay[None, :, None].expand(-1, -1, N) if decay.ndim == 1 else decay
    )
    rows = []
    for t in range(N):
        S = gates[:, :, t, None, None] * S + k[:, :, t, :, None] * v[:, :, t, None, :]
        rows.append((q[:, :, t, :, None] * S).sum(2))
    if not causal:
        R = torch.zeros_like(S)
        for t in range(N - 2, -1, -1):
            R = gates[:, :, t + 1, None, None] * (R + k[:, :, t + 1, :, None] * v[:, :, t + 1, None, :])
            rows[t] = rows[t] + (q[:, :, t, :, None] * R).sum(2)
    return torch.stack(rows, 2), S
