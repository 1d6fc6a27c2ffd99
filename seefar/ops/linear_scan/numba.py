"""The linear scan on the CPU: one kernel forward, one backward, compiled by numba when first called."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seefar.ops._cpu import needs_numba, spread, tiny


def cannot_run(a: Tensor, *_: Tensor) -> str | None:
    """Needs numba, the CPU, and float32 or float64."""
    return needs_numba(a)


def run(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """h_t = a_t * h_{t-1} + b_t over axis 1; differentiable once.

    Differs: a carried state (or gradient) smaller than 1e-30, 1e-290 in float64, becomes zero at every 64th token.
    """
    (B, N, *rest), width = a.shape, prod(a.shape[2:])
    flat: Tensor = _LinearScan.apply(a.reshape(B, N, width), b.reshape(B, N, width), h0.reshape(B, width))
    return flat.view(B, N, *rest)


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        from seefar.ops.linear_scan import _kernels

        a, b, h0 = (t.detach().contiguous() for t in (a, b, h0))
        h = torch.empty_like(b)
        arrays = [t.numpy() for t in (a, b, h0)]
        h_array, least = h.numpy(), tiny(a.dtype)
        blocks = -(-a.shape[2] // _kernels.LANES)
        kernel: Any = _kernels.forward

        def piece(i: int) -> None:
            row, block = divmod(i, blocks)
            kernel(row, block * _kernels.LANES, *arrays, least, h_array)

        spread(piece, a.shape[0] * blocks, work=a.numel())
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from seefar.ops.linear_scan import _kernels

        a, h0, h = ctx.saved_tensors
        da, db, dh0 = torch.empty_like(a), torch.empty_like(a), torch.empty_like(h0)
        inputs, outputs = [t.numpy() for t in (a, h0, h, dh.contiguous())], [t.numpy() for t in (da, db, dh0)]
        least, blocks = tiny(a.dtype), -(-a.shape[2] // _kernels.LANES)
        kernel: Any = _kernels.backward

        def piece(i: int) -> None:
            row, block = divmod(i, blocks)
            kernel(row, block * _kernels.LANES, *inputs, least, *outputs)

        spread(piece, a.shape[0] * blocks, work=a.numel())
        return da, db, dh0
