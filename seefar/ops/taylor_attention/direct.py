"""All pairs, a tile of queries at a time: two matrix products with a square between them."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops.taylor_attention.square import completed, divided, forgetful, together


def cannot_run(*_: object) -> None:
    """Always runs."""


def run(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: tuple[float, float, float], tile: int | None
) -> Tensor:
    """Squares of products with all keys, for each tile of queries."""
    q, k, values, rest = completed(q, k, v, mask, parabola)
    if tile is None:
        return divided(_meet(q, k, values), values, rest, v.shape)
    heads = together(tile * k.shape[1])
    pieces = []
    for some_q, some_k, some_v in zip(q.split(heads), k.split(heads), values.split(heads), strict=True):
        pieces.append(torch.cat([forgetful(_meet, some, some_k, some_v) for some in some_q.split(tile, 1)], 1))
    return divided(torch.cat(pieces), values, rest, v.shape)


def _meet(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (queries @ keys.mT).square() @ values
