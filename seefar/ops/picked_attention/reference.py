"""The definition: all N x M scores, those of keys that are not picked forbidden; autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, blocks: Tensor, width: int, causal: bool, scale: float) -> Tensor:
    """Softmax over the picked keys, then their mean."""
    (N, M), shared = (q.shape[2], k.shape[2]), q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(shared, 1) for x in (k, v))
    key = torch.arange(M, device=q.device)
    seen = (blocks[..., None] == key // width).any(2)[:, :, None].expand(-1, -1, N, -1)
    if causal:
        seen = seen & (key <= torch.arange(M - N, M, device=q.device)[:, None])
    weights = (q @ k.mT * scale).masked_fill(~seen, -torch.inf).softmax(-1)
    return weights.masked_fill(~seen, 0) @ v
