"""The short convolution as a sum of shifted copies: any dtype, any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor, silu: bool) -> tuple[Tensor, Tensor]:
    """y and the last tokens."""
    N, seen = x.shape[1], torch.cat([past, x], 1)
    total = seen[:, :N] * weight[:, 0]
    if bias is not None:
        total = total + bias
    for k in range(1, weight.shape[1]):
        total = torch.addcmul(total, seen[:, k : k + N], weight[:, k])
    # a copy: a view would keep the whole chunk in memory
    return F.silu(total) if silu else total, seen[:, N:].clone()
