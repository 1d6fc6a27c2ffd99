"""Causal maps to imitate: sequences, and what a map with a fading memory makes of them.

B sequences, N tokens.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def sliding_median(count: int, length: int, *, window: int = 5, seed: int) -> tuple[Tensor, Tensor]:
    """White Gaussian noise, and the median of the last ``window`` values at each token; zeros stand before the first.

    Both (count, length, 1). The best linear map of the past explains 1 / (window * variance of the median) of it:
    0.70 for a window of 5.

    Raises:
        ValueError: nothing to make, or a window that is even or below 3, whose median is no value of it.
    """
    _check("sliding_median", count, length)
    if window < 3 or not window % 2:
        raise ValueError(f"sliding_median: window must be odd and at least 3, got {window}")
    x_BN = torch.randn(count, length, generator=torch.Generator().manual_seed(seed))
    padded = torch.nn.functional.pad(x_BN, (window - 1, 0))
    return x_BN[..., None], padded.unfold(1, window, 1).median(-1).values[..., None]


def bilinear(
    count: int, length: int, *, rates: tuple[float, float] = (1.0, 0.5), dt: float = 0.1, seed: int
) -> tuple[Tensor, Tensor]:
    """A controlled ordinary differential equation: smooth noise u that drives it, and its second variable.

    z1' = -rate_1 z1 + u,    z2' = -rate_2 z2 + u z1,    both 0 at first, by Heun's rule of steps ``dt``

    Both (count, length, 1); u has variance 1 and forgets at a rate of 1. What comes out is of second order in u and
    keeps a mean, so that a linear readout of the past explains next to nothing of it.

    Raises:
        ValueError: nothing to make; rates or a step that are not positive, or too large to follow the equation.
    """
    _check("bilinear", count, length)
    if min(*rates, dt) <= 0 or max(*rates) * dt > 1:
        raise ValueError(f"bilinear: rates and dt are positive and rate * dt at most 1, got {rates=} and {dt=}")
    noise_NB = torch.randn(length + 1, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    keep = torch.tensor(-dt, dtype=torch.float64).exp()
    u = [noise_NB[0]]
    for fresh in noise_NB[1:]:
        u.append(keep * u[-1] + (1 - keep**2).sqrt() * fresh)

    def slope(z: Tensor, drive: Tensor) -> Tensor:
        return torch.stack([drive - rates[0] * z[0], drive * z[0] - rates[1] * z[1]])

    z, out = torch.zeros(2, count, dtype=torch.float64), []
    for now, then in pairwise(u):
        first = slope(z, now)
        z = z + dt / 2 * (first + slope(z + dt * first, then))
        out.append(z[1])
    return torch.stack(u[1:], 1).float()[..., None], torch.stack(out, 1).float()[..., None]


def in_dictionary(count: int, basis: Tensor, *, seed: int) -> Tensor:
    """(count, N) inputs ``basis @ alpha`` with Gaussian alpha; the basis is (N, P)."""
    if basis.ndim != 2 or count < 1:
        raise ValueError(f"in_dictionary: needs a basis (N, P) and a sequence, got {tuple(basis.shape)} and {count=}")
    alpha = torch.randn(count, basis.shape[1], generator=torch.Generator().manual_seed(seed))
    return alpha.to(basis.dtype) @ basis.mT


def _check(task: str, count: int, length: int) -> None:
    if count < 1 or length < 1:
        raise ValueError(f"{task}: needs a sequence and a token, got {count=} and {length=}")
