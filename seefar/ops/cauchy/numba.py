"""The Cauchy sums on the CPU: one fused kernel forward, one backward, compiled by numba when first called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seefar.ops._cpu import needs_numba, spread
from seefar.ops.cauchy.blocked import real_parts


def cannot_run(v: Tensor, *_: Tensor) -> str | None:
    """Needs numba, the CPU, and complex64 or complex128."""
    return needs_numba(v.real)


def run(v: Tensor, pole: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """sum_n v_n / (2 i s - c p_n) and conjugates; differentiable once in v and pole."""
    return torch.complex(*_CauchySum.apply(*real_parts(v, pole), sine, cosine))


class _CauchySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, real: Tensor, size: Tensor, sine: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        from seefar.ops.cauchy import _kernels

        tensors = [t.detach().contiguous() for t in (x, y, real, size, sine, cosine)]
        ctx.save_for_backward(*tensors)
        outputs = [x.new_empty((*x.shape[:2], len(sine))) for _ in range(2)]
        arrays, kernel = [t.numpy() for t in (*tensors, *outputs)], _kernels.forward
        spread(lambda d: kernel(d, *arrays), len(x), work=x.numel() * len(sine))
        return outputs[0], outputs[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_real: Tensor, by_imag: Tensor) -> tuple[Tensor | None, ...]:
        from seefar.ops.cauchy import _kernels

        tensors = ctx.saved_tensors
        gradients = [torch.zeros_like(t) for t in tensors[:4]]
        arrays = [t.numpy() for t in (*tensors, by_real.contiguous(), by_imag.contiguous(), *gradients)]
        kernel: Any = _kernels.backward
        spread(lambda d: kernel(d, *arrays), len(tensors[0]), work=2 * tensors[0].numel() * len(tensors[4]))
        return (*gradients, None, None)
