"""The sum as it is written: every pole at every point, in complex numbers."""

from __future__ import annotations

from torch import Tensor


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(v: Tensor, pole: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """sum_n v_n / (2 i s - c p_n) + conj(v_n) / (2 i s - c conj(p_n))."""
    v, pole = v[:, :, None], pole[:, None, None]
    point, weight = 2j * sine[:, None], cosine[:, None]
    return (v / (point - weight * pole) + v.conj() / (point - weight * pole.conj())).sum(-1)
