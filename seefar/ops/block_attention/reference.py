"""Attention under the whole N x M mask, as its definition reads; any dtype, autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops.block_attention.mask import BlockMask


def cannot_run(*_: Tensor | BlockMask) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask, scale: float) -> tuple[Tensor, Tensor]:
    """Softmax over the keys that meet, then their mean; rows without a key are zero."""
    shared = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(shared, 1) for x in (k, v))
    allowed = mask.dense().to(q.device)
    empty = ~allowed.any(-1)
    scores = (q @ k.mT * scale).masked_fill(~allowed, -torch.inf)
    lse = scores.logsumexp(-1).masked_fill(empty, -torch.inf)
    weights = (scores - lse.masked_fill(empty, 0)[..., None]).masked_fill(~allowed, -torch.inf).exp()
    return weights @ v, lse
