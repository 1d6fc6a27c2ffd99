"""All pairs through sums over keys, with all (d + 1)^2 products of a token, those of two different numbers twice.

As the authors do; their formulas count this form.
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops.taylor_attention.square import completed, divided, through_sums


def cannot_run(*_: object) -> None:
    """Always runs."""


def run(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: tuple[float, float, float], tile: int | None
) -> Tensor:
    """Outer products, flattened."""
    q, k, values, rest = completed(q, k, v, mask, parabola)
    factor = q.new_ones(q.shape[2] ** 2, 1)
    return divided(through_sums(q, k, values, tile, _pairs, factor), values, rest, v.shape)


def _pairs(x: Tensor) -> Tensor:
    return (x[:, :, None] * x[:, None, :]).flatten(1, 2)
