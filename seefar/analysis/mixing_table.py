"""One table for all mixers, measured on their matrices: what class they are of, and what that makes them cost.

B batch, N tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seefar.analysis.mixing_matrix import mixing_matrix
from seefar.mixers.base import Mixer

TINY = 1e-9
"""Of the largest number of a matrix; what is smaller counts as nothing."""


@dataclass(frozen=True)
class Row:
    """What was measured of one mixer.

    Args:
        kind: "linear", y = M v; or "jacobian", for which M are sizes of derivatives and ranks say nothing of its cost.
        error: the largest error of y = M v; None for a Jacobian.
        causal: nothing above the diagonal.
        stochastic: rows are weights of a mean: none negative, sum 1.
        waves: rows are waves over all places, each number as large as the others and at right angles to other rows.
        toeplitz: only distances count, M is a convolution.
        from_data: M changes with the input.
        density: share of M that is not zero.
        rank: of M, the most of any row of the batch and channel.
        carried: the most of any part of M below and left of a place on its diagonal: the numbers that a recurrence
            has to carry past that place.
        numbers: that describe M of a channel, by what is cheapest for such a class.
        cheapest: which class that is: the entries that are not zero, or a form that needs fewer numbers.
    """

    kind: Literal["linear", "jacobian"]
    error: float | None
    causal: bool
    stochastic: bool
    toeplitz: bool
    waves: bool
    from_data: bool
    density: float
    rank: int
    carried: int
    numbers: int
    cheapest: str


def mixing_table(mixers: Mapping[str, Mixer], x: Tensor) -> dict[str, Row]:
    """Every mixer's row; x (B, N, D) is given to all, and another input of its kind for what changes with the input."""
    return {name: _row(mixer, x) for name, mixer in mixers.items()}


def _row(mixer: Mixer, x: Tensor) -> Row:
    found = mixing_matrix(mixer, x)
    M, other = found.weights, mixing_matrix(mixer, x.roll(1, 1) * 1.5).weights
    N, small = M.shape[-1], TINY * float(M.abs().max())
    causal = bool((M.triu(1).abs() <= small).all())
    toeplitz = bool(((M[..., 1:, 1:] - M[..., :-1, :-1]).abs() <= small).all())
    real = not M.is_complex()
    there = int((M.abs() > small).flatten(0, 1).any(0).sum())
    ranks, carried = _rank(M), max(_rank(M[..., at:, :at]) for at in range(1, N))
    costs = {"entries": there, "low rank": 2 * N * ranks}
    waves = _waves(M)
    if waves:
        costs["fast transform"] = N  # the roots of one
    if toeplitz:
        costs["convolution"] = N if causal else 2 * N - 1
    if causal:
        costs["recurrence"] = N * (3 * carried + 1)
    return Row(
        kind=found.kind,
        error=None if found.kind == "jacobian" else found.error,
        causal=causal,
        stochastic=real and bool((M + small >= 0).all()) and bool(((M.sum(-1) - 1).abs() <= TINY).all()),
        toeplitz=toeplitz,
        waves=waves,
        from_data=bool(((M - other).abs() > small).any()),
        density=there / (N * N),
        rank=ranks,
        carried=carried,
        numbers=min(costs.values()),
        cheapest=min(costs, key=lambda name: costs[name]),
    )


def _waves(M: Tensor) -> bool:
    gram = M @ M.mH / M.shape[-1]
    right = (gram - torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)).abs() <= TINY
    return bool(((M.abs() - 1).abs() <= TINY).all() and right.all())


def _rank(M: Tensor) -> int:
    """The largest of the batch, by singular values above ``TINY`` of the first."""
    values = torch.linalg.svdvals(M.flatten(0, 1))
    return int((values > TINY * values[:, :1]).sum(-1).max())
