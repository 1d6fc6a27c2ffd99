"""Attention as its definition reads: all N x M scores at once, any dtype, autograd does the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops.attention.rules import Rules


def cannot_run(*_: Tensor | Rules) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """Softmax over the allowed keys, then their mean; rows without a key are zero."""
    B, H, N, d = q.shape
    grouped = q.reshape(B, k.shape[1], H // k.shape[1], N, d)
    scores = grouped @ k[:, :, None].mT * rules.scale
    allowed = rules.allowed(slice(0, N), slice(0, rules.M), q.device)
    if allowed is None:
        allowed = torch.ones((), dtype=torch.bool, device=q.device)
    allowed = allowed.expand_as(scores)
    empty = ~allowed.any(-1)
    lse = scores.masked_fill(~allowed, -torch.inf).logsumexp(-1).masked_fill(empty, -torch.inf)
    weights = (scores - lse.masked_fill(empty, 0)[..., None]).masked_fill(~allowed, -torch.inf).exp()
    o = weights @ v[:, :, None]
    return o.reshape(B, H, N, v.shape[-1]), lse.reshape(B, H, N)
