"""One matrix after another; the gradient comes from a last step around the result, which changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(matrix: Tensor, steps: int, share: float, halvings: int) -> Tensor:
    """Y <- 2 Y - Y M Y for each matrix."""
    m = matrix.shape[-1]
    each = [_one(one, steps, share, halvings) for one in matrix.reshape(-1, m, m)]
    return torch.stack(each).view_as(matrix) if each else matrix


def _one(M: Tensor, steps: int, share: float, halvings: int) -> Tensor:
    N, eye = M.detach(), torch.eye(len(M), dtype=M.dtype, device=M.device)
    Y = share * N.T / (N.abs().sum(0).max() * N.abs().sum(1).max())
    for _ in range(halvings):
        if (eye - Y @ N).abs().sum(0).max() > 1.01:
            Y = Y / 2
    for _ in range(steps):
        Y = 2 * Y - Y @ N @ Y
    return Y - Y @ (M - N) @ Y
