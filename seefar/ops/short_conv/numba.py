"""The short convolution on the CPU: one fused kernel forward, two backward, compiled by numba when first called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seefar.ops._cpu import needs_numba, spread

TOKENS = 256
"""Of a row of the batch, taken at a time by one thread."""


def cannot_run(x: Tensor, *_: Tensor) -> str | None:
    """Needs numba, the CPU, and float32 or float64."""
    return needs_numba(x)


def run(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor, silu: bool) -> tuple[Tensor, Tensor]:
    """y and the last tokens; differentiable once in every argument."""
    y, after = _ShortConv.apply(x, weight, bias, past, silu)
    return y, after


class _ShortConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor, silu: bool
    ) -> tuple[Tensor, Tensor]:
        from seefar.ops.short_conv import _kernels

        (B, N, D), before = x.shape, past.shape[1]
        taps = weight.detach().T.contiguous()
        shift = x.new_zeros(D) if bias is None else bias.detach()
        x, past = x.detach(), past.detach().contiguous()
        y = x.new_empty(B, N, D)
        after = torch.cat([past[:, N:], x[:, max(0, N - before) :]], 1)
        flat, steps = _flat(x)
        arrays = [t.numpy() for t in (taps, shift, past, y)]
        blocks = -(-N // TOKENS)

        def piece(i: int) -> None:
            b, block = divmod(i, blocks)
            t0 = block * TOKENS
            _kernels.forward(b, t0, min(N, t0 + TOKENS), flat, *steps, *arrays, silu)  # type: ignore[call-arg, arg-type]

        spread(piece, B * blocks, work=x.numel() * (len(taps) + 8 * silu))
        ctx.silu, ctx.has_bias = silu, bias is not None
        ctx.save_for_backward(x, taps, shift, past)
        return y, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:
        from seefar.ops.short_conv import _kernels

        x, taps, shift, past = ctx.saved_tensors
        (B, N, D), K = x.shape, len(taps)
        blocks = -(-N // TOKENS)
        # seen backwards from the end, dseen holds the gradients of the past and then of x
        dsum, dseen = x.new_empty(B, N, D), x.new_zeros(B, K - 1 + N, D)
        dseen[:, N:] = dafter
        # a piece has its own sums, so that any order of pieces gives the same numbers
        dtaps, dshift = x.new_zeros(B * blocks, K, D), x.new_zeros(B * blocks, D)
        flat, steps = _flat(x)
        given = [t.numpy() for t in (taps, shift, past, dy.contiguous())]
        sums = [t.numpy() for t in (dsum, dtaps, dshift)]
        grads = [t.numpy() for t in (taps, dsum, dseen)]

        def piece(i: int) -> None:
            b, block = divmod(i, blocks)
            t0 = block * TOKENS
            _kernels.backward_sums(i, b, t0, min(N, t0 + TOKENS), flat, *steps, *given, ctx.silu, *sums)  # type: ignore[call-arg, arg-type]

        def spread_back(i: int) -> None:
            b, block = divmod(i, blocks + 1)
            t0 = block * TOKENS
            _kernels.backward_tokens(b, t0, min(N + K - 1, t0 + TOKENS), *grads)

        work = x.numel() * (2 * K + 12 * ctx.silu)
        spread(piece, B * blocks, work=work)
        spread(spread_back, B * (blocks + 1), work=work)
        return (
            dseen[:, K - 1 :],
            dtaps.sum(0).T,
            dshift.sum(0) if ctx.has_bias else None,
            dseen[:, : K - 1],
            None,
        )


def _flat(x: Tensor) -> tuple[Any, tuple[int, int]]:
    """A view of (B, N, D) as a row of numbers, and how far rows and tokens lie apart in it; a part of a wider tensor
    is not copied."""
    if x.stride(2) != 1:
        x = x.contiguous()
    (B, N, D), (row, token, _) = x.shape, x.stride()
    return x.as_strided(((B - 1) * row + (N - 1) * token + D,), (1,)).numpy(), (row, token)
