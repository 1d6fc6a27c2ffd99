"""The inverse of many small matrices by Newton's iteration: matrix products alone, so it runs well on any device.

m side of a matrix, ... any number of batch axes.

| backend | runs on | work |
|---|---|---|
| batched | float32 and float64 on any device | 4 m^3 flops a step, all matrices side by side; keeps two of each |
| reference | float32 and float64 | the same, one matrix after another |
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.newton_inverse import batched, reference

BACKENDS = {"batched": batched, "reference": reference}


def newton_inverse(
    matrix: Tensor, *, steps: int = 20, share: float = 1.8, halvings: int = 0, backend: str | None = None
) -> Tensor:
    """What Newton's iteration makes of each matrix M in so many steps; its gradient is that of the inverse.

    Y_0 = share M^T / (|M|_1 |M|_inf),    Y <- 2 Y - Y M Y,    dM = -Y^T dY Y^T

    with |M|_1 and |M|_inf the largest sums of absolute values of a column and of a row. I - Y M is squared by every
    step, so digits double once it is small; before, a singular value s of M waits until 2^steps is about
    |M|_1 |M|_inf / s^2. One that is too small for the steps is not inverted: it gets about 2^steps s share /
    (|M|_1 |M|_inf) in place of 1 / s, so that matrices without an inverse do no harm. The steps are not
    differentiated; where they are too few, the gradient is an approximation just as the inverse is.

    Args:
        matrix: (..., m, m) float32 or float64; each has a start of its own.
        steps: of the iteration.
        share: of the start, below 2: with 2 itself a multiple of the identity would come out as zero.
        halvings: how often the share of a matrix may be halved until |I - Y_0 M|_1 <= 1.01.
        backend: one of ``BACKENDS``; by default the first of them that can run.

    Returns:
        (..., m, m), symmetric where the matrix is.

    Raises:
        ValueError: no square matrices, half precision, or settings out of range.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> newton_inverse(torch.tensor([[4.0, 0.0], [0.0, 2.0]])).tolist()
        [[0.25, 0.0], [0.0, 0.5]]

    Reference: Schulz 1933; Ben-Israel and Cohen 1966 for the start; Lu et al., SOFT, arXiv 2207.03341, for the
    gradient and the halvings. Differs: the release halves the starts of a whole batch by its worst matrix.
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not matrix.shape[-1]:
        raise ValueError(f"newton_inverse: needs square matrices (..., m, m), got {tuple(matrix.shape)}")
    if matrix.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"newton_inverse: {matrix.dtype} has too few digits for products of inverses; call .float() on the matrix"
        )
    if steps < 0 or halvings < 0 or not 0 < share < 2:
        raise ValueError(
            f"newton_inverse: needs steps and halvings >= 0 and share in (0, 2), got {steps}, {halvings}, {share}"
        )
    inverse: Tensor = choose("newton_inverse", BACKENDS, backend, matrix)(matrix, steps, share, halvings)
    return inverse
