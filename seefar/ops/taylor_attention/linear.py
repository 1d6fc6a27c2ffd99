"""All pairs through sums over keys, with every product of two numbers of a token made once."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops.taylor_attention.square import completed, divided, through_sums
from seefar.ops.taylor_attention.switch import pays, pays_from


def cannot_run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, asked: bool = False) -> str | None:
    """Always can; unless asked for, it stands back where ``direct`` does less work."""
    N, M, d = q.shape[2], k.shape[2], q.shape[3]
    if asked or pays(N, M, d):
        return None
    return f"direct does less work below {pays_from(d)} tokens at width {d}, got {N} queries and {M} keys"


def run(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: tuple[float, float, float], tile: int | None
) -> Tensor:
    """(d + 1)(d + 2) / 2 products of a token; those of two different numbers count twice."""
    q, k, values, rest = completed(q, k, v, mask, parabola)
    one, other = torch.triu_indices(q.shape[2], q.shape[2], device=q.device).unbind()

    def pairs(x: Tensor) -> Tensor:
        first, second = x.index_select(1, one), x.index_select(1, other)
        return first * second if torch.is_grad_enabled() else first.mul_(second)

    factor = (2 - (one == other).to(q.dtype))[:, None]
    return divided(through_sums(q, k, values, tile, pairs, factor), values, rest, v.shape)
