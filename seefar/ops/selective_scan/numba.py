"""The selective scan on the CPU: one fused kernel forward, one backward, compiled by numba when first called."""

from __future__ import annotations

from math import e, log2
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seefar.ops._cpu import needs_numba, spread, tiny


def cannot_run(u: Tensor, *_: Tensor) -> str | None:
    """Needs numba, the CPU, and float32 or float64."""
    return needs_numba(u)


def run(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """y and the last state; differentiable once in every argument.

    Differs: states (and gradients) smaller than 1e-30, 1e-290 in float64, become zero at every 32nd token.
    """
    y, h_last = _SelectiveScan.apply(u, dt, A, B, C, D, z, h0)
    return y, h_last


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        from seefar.ops.selective_scan import _kernels

        tensors = [
            t.detach().contiguous() for t in (u, dt, A * log2(e), B, C, _or_nothing(D, u, 1), _or_nothing(z, u, 3), h0)
        ]
        u, dt, rate, B, C, skip, gate, h0 = tensors
        (Bt, N, channels), S = u.shape, B.shape[2]
        keep = any(ctx.needs_input_grad)
        if D is None:
            skip = u.new_zeros(channels)
        y, h_last = torch.empty_like(u), torch.empty_like(h0)
        marks = -(-N // _kernels.EVERY) if keep else 0
        kept = u.new_empty((Bt, marks, S, channels))
        least = tiny(u.dtype)
        inputs = [t.numpy() for t in (u, dt, rate, B, C, skip, gate, h0)]
        outputs = [t.numpy() for t in (y, h_last, kept)]
        kernel: Any = _kernels.forward
        # as many parts of a row as keep all threads at work, and no more: the wider, the faster memory is
        parts = min(-(-channels // _kernels.LANES), -(-torch.get_num_threads() // Bt))
        width = -(-channels // parts // _kernels.LANES) * _kernels.LANES
        parts = -(-channels // width)

        def piece(i: int) -> None:
            b, part = divmod(i, parts)
            kernel(b, part * width, min(channels, (part + 1) * width), *inputs, least, *outputs, z is not None, keep)

        spread(piece, Bt * parts, work=u.numel() * S)
        ctx.has_skip, ctx.has_gate = D is not None, z is not None
        ctx.save_for_backward(u, dt, A, B, C, skip, gate, kept)
        return y, h_last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh_last: Tensor) -> tuple[Tensor | None, ...]:
        from seefar.ops.selective_scan import _kernels

        u, dt, A, B, C, skip, gate, kept = ctx.saved_tensors
        (Bt, N, channels), S = u.shape, B.shape[2]
        blocks = -(-channels // _kernels.LANES)
        du, ddt, dz, dh0 = (
            torch.empty_like(u),
            torch.empty_like(u),
            torch.empty_like(gate),
            u.new_empty((Bt, channels, S)),
        )
        dA, dD = u.new_empty((Bt, channels, S)), u.new_empty((Bt, channels))
        dB, dC = u.new_empty((blocks, Bt, N, S)), u.new_empty((blocks, Bt, N, S))
        least = tiny(u.dtype)
        rate = (A * log2(e)).contiguous()
        inputs = [t.numpy() for t in (u, dt, rate, B, C, skip, gate, kept)]
        outputs = [t.contiguous().numpy() for t in (dy, dh_last, du, ddt, dA, dB, dC, dD, dz, dh0)]
        kernel: Any = _kernels.backward

        def piece(i: int) -> None:
            b, block = divmod(i, blocks)
            kernel(b, block * _kernels.LANES, *inputs, least, *outputs, ctx.has_gate)

        spread(piece, Bt * blocks, work=u.numel() * S * 3)
        return (
            du,
            ddt,
            dA.sum(0),
            dB.sum(0),
            dC.sum(0),
            dD.sum(0) if ctx.has_skip else None,
            dz if ctx.has_gate else None,
            dh0,
        )


def _or_nothing(value: Tensor | None, like: Tensor, ndim: int) -> Tensor:
    """The kernels are compiled for one type of each argument, so an absent one is an empty array of that type."""
    return like.new_empty((0,) * ndim) if value is None else value
