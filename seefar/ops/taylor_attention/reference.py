"""The weights written out, as in the equation."""

from __future__ import annotations

from torch import Tensor


def cannot_run(*_: object) -> None:
    """Always runs."""


def run(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: tuple[float, float, float], tile: int | None
) -> Tensor:
    """w = a s^2 + b s + c, masked, over its sum, times v; ``tile`` plays no part."""
    a, b, c = parabola
    s = q @ k.mT
    w = a * s * s + b * s + c
    if mask is not None:
        w = w * mask[:, None, None, :]
    total = w.sum(-1, keepdim=True)
    return w / total.masked_fill(total == 0, 1) @ v
