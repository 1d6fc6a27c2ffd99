"""All matrices side by side; no graph of the steps is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def cannot_run(matrix: Tensor) -> str | None:
    """Needs float32 or float64."""
    known = (torch.float32, torch.float64)
    return None if matrix.dtype in known else f"needs float32 or float64, got {matrix.dtype}"


def run(matrix: Tensor, steps: int, share: float, halvings: int) -> Tensor:
    """The iteration, with the gradient of the inverse."""
    inverse: Tensor = _Inverse.apply(matrix, steps, share, halvings)
    return inverse


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, steps: int, share: float, halvings: int) -> Tensor:
        M = matrix.flatten(0, -3) if matrix.ndim > 2 else matrix[None]
        sizes = M.abs().sum(-1).amax(-1) * M.abs().sum(-2).amax(-1)
        Y = share * M.mT / sizes[:, None, None]
        eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
        for _ in range(halvings):
            far = torch.baddbmm(eye, Y, M, alpha=-1).abs().sum(-2).amax(-1) > 1.01
            Y = torch.where(far[:, None, None], Y / 2, Y)
        for _ in range(steps):
            Y = torch.baddbmm(Y, Y @ M, Y, beta=2, alpha=-1)
        Y = Y.reshape(matrix.shape)
        ctx.save_for_backward(Y)
        return Y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (Y,) = ctx.saved_tensors
        return -(Y.mT @ grad @ Y.mT), None, None, None
