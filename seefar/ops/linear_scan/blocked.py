"""The recurrence in about 2 sqrt(N) torch calls: blocks run side by side, then their ends are joined one after another.

Inside a block both the state from zero and the product of the gains are kept, so the state that enters a block acts on
all of its tokens at once. Nothing is ever divided, so gains of zero are as good as any other.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor


def cannot_run(a: Tensor, *_: Tensor) -> str | None:
    """Needs numbers that have gradients."""
    return (
        None if a.dtype.is_floating_point or a.dtype.is_complex else f"needs a floating or complex dtype, got {a.dtype}"
    )


def run(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """h_t = a_t * h_{t-1} + b_t over axis 1."""
    states: Tensor = _BlockedScan.apply(a, b, h0)
    return states


class _BlockedScan(torch.autograd.Function):
    """The gradient of a scan is a scan from the end: g_t = dL/dh_t + conj(a_{t+1}) g_{t+1}."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = _scan(a, b, h0)
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h0, h = ctx.saved_tensors  # type: ignore[attr-defined]
        gain = a.conj() if a.is_complex() else a
        later = torch.cat([gain[:, 1:], torch.zeros_like(gain[:, :1])], 1)
        g = run(later.flip(1), dh.flip(1), torch.zeros_like(h0)).flip(1)
        before = torch.cat([h0[:, None], h[:, :-1]], 1)
        return g * (before.conj() if before.is_complex() else before), g, gain[:, 0] * g[:, 0]


def _scan(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    B, N, *rest = a.shape
    K = max(1, isqrt(N))
    blocks = -(-N // K)
    if blocks * K > N:
        padding = a.new_zeros((B, blocks * K - N, *rest))
        a, b = torch.cat([a, padding], 1), torch.cat([b, padding], 1)
    a, b = a.reshape(B, blocks, K, *rest), b.reshape(B, blocks, K, *rest)
    h, gain = torch.empty_like(b), torch.empty_like(a)
    h[:, :, 0], gain[:, :, 0] = b[:, :, 0], a[:, :, 0]
    for k in range(1, K):
        h[:, :, k] = torch.addcmul(b[:, :, k], a[:, :, k], h[:, :, k - 1])
        gain[:, :, k] = a[:, :, k] * gain[:, :, k - 1]
    entering = [h0]
    for block in range(blocks - 1):
        entering.append(torch.addcmul(h[:, block, -1], gain[:, block, -1], entering[-1]))
    h.addcmul_(gain, torch.stack(entering, 1)[:, :, None])
    return h.reshape(B, blocks * K, *rest)[:, :N]
