"""The cascade on the CPU: one fused kernel forward, one backward, compiled by numba when first called."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seefar.ops._cpu import needs_numba, spread


def cannot_run(x: Tensor, *_: Tensor) -> str | None:
    """Needs numba, the CPU, and float32 or float64."""
    return needs_numba(x)


def run(
    x: Tensor, low: Tensor, high: Tensor | None, tail: Tensor | None, past: Tensor | None, dilations: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """y and the past after the last token; differentiable once in every argument."""
    y, after = _DilatedConv.apply(x, low, high, tail, past, dilations)
    return y, after


class _DilatedConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        low: Tensor,
        high: Tensor | None,
        tail: Tensor | None,
        past: Tensor | None,
        dilations: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        from seefar.ops.dilated_conv import _kernels

        ctx.set_materialize_grads(False)
        given = (high is not None, tail is not None, past is not None)
        kept = (x, low, _or_nothing(high, x, 3), _or_nothing(tail, x, 1), _or_nothing(past, x, 3))
        tensors = [t.detach().contiguous() for t in kept]
        (B, _, D), reach = x.shape, (low.shape[1] - 1) * sum(dilations)
        y, after = torch.empty_like(tensors[0]), x.new_empty(B, reach, D)
        arrays = [t.numpy() for t in (*tensors, y, after)]
        distances = np.array(dilations)
        blocks = -(-D // _kernels.LANES)
        kernel: Any = _kernels.forward

        def piece(i: int) -> None:
            b, block = divmod(i, blocks)
            kernel(b, block * _kernels.LANES, distances, *given, *arrays)

        spread(piece, B * blocks, work=x.numel() * low.shape[0] * low.shape[1])
        ctx.distances, ctx.given = distances, given
        ctx.save_for_backward(*tensors)
        return y, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dafter: Tensor | None) -> tuple[Tensor | None, ...]:
        from seefar.ops.dilated_conv import _kernels

        tensors = ctx.saved_tensors
        x, low, high, tail, past = tensors
        B, _, D = x.shape
        dy = torch.zeros_like(x) if dy is None else dy.contiguous()
        end = _or_nothing(dafter, x, 3).contiguous()
        # a row of the batch has its own sum, so that any order of pieces gives the same numbers
        sums = [t.new_empty((B, *t.shape)) for t in (low, high, tail)]
        results = [torch.empty_like(x), *sums, torch.empty_like(past)]
        arrays = [t.numpy() for t in (*tensors, dy, end, *results)]
        blocks = -(-D // _kernels.LANES)
        kernel: Any = _kernels.backward

        def piece(i: int) -> None:
            b, block = divmod(i, blocks)
            kernel(b, block * _kernels.LANES, ctx.distances, *ctx.given, dafter is not None, *arrays)

        spread(piece, B * blocks, work=3 * x.numel() * low.shape[0] * low.shape[1])
        has_high, has_tail, has_past = ctx.given
        dx, dlow, dhigh, dtail, dpast = results
        return (
            dx,
            dlow.sum(0),
            dhigh.sum(0) if has_high else None,
            dtail.sum(0) if has_tail else None,
            dpast if has_past else None,
            None,
        )


def _or_nothing(value: Tensor | None, like: Tensor, ndim: int) -> Tensor:
    """The kernels are compiled for one type of each argument, so an absent one is an empty array of that type."""
    return like.new_empty((0,) * ndim) if value is None else value
