"""Fourier transforms as products with small matrices, and back: each digit of the place is turned into one of f.

With n = N_1 M: place N_1-digit a and rest m, x[a M + m]; frequency k + N_1 q. Then

    X[k + N_1 q] = sum_m e^(-2 pi i m q / M) (e^(-2 pi i m k / n) sum_a e^(-2 pi i a k / N_1) x[a M + m])

The inner sum is a product with an N_1 x N_1 matrix, the factor before it a twiddle, the outer sum a transform of M
numbers, cut up in the same way. Frequencies stay in the order (k_1, ..., k_p) in which they come, so that nothing is
permuted: filters are transformed into the same order. Complex numbers are pairs of real ones, since half precision has
no others; a product of complex matrices is one of real matrices of twice the sides.

R rows, C channels, n numbers; pairs stand on an axis of two.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

Matrices = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


def transform(x_RLC: Tensor, factors: tuple[int, ...], kept: tuple[int, ...], *, mean: bool) -> Tensor:
    """(R c_1 ... c_(p-1), 2, c_p, C): the spectrum of L numbers, followed by n - L zeros that are never touched.

    Args:
        x_RLC: real.
        factors: N_i.
        kept: c_i, digits of f that are computed.
        mean: divided by n on the way, so that nothing overflows.
    """
    matrices, twiddles = _matrices(factors, kept, mean, x_RLC.dtype, x_RLC.device)
    R, L, C = x_RLC.shape
    left = math.prod(factors[1:])
    used = -(-L // left)
    x = torch.nn.functional.pad(x_RLC, (0, 0, 0, used * left - L)).view(R, used, left * C)
    y = torch.matmul(matrices[0][:, :used], x)
    for i, (factor, matrix) in enumerate(zip(factors[1:], matrices[1:], strict=True)):
        y = _turned(y.view(len(y), 2, kept[i], left, C), twiddles[i])
        left //= factor
        y = torch.matmul(matrix, y.view(-1, 2 * factor, left * C))
    return y.view(-1, 2, kept[-1], C)


def inverse(y: Tensor, length: int, factors: tuple[int, ...], kept: tuple[int, ...]) -> Tensor:
    """(R, length, C): the first numbers of the real part of ``sum_f X_f e^(2 pi i f t / n)`` over the kept f."""
    matrices, twiddles = _matrices(factors, kept, False, y.dtype, y.device)
    C, left = y.shape[-1], 1
    for i in range(len(factors) - 1, 0, -1):
        # a transform's matrix transposed is that of the inverse: pairs (re, im) turn the other way
        y = torch.matmul(matrices[i].mT, y.reshape(-1, 2 * kept[i], left * C))
        left *= factors[i]
        y = _turned_back(y.view(-1, kept[i - 1], 2, left, C), twiddles[i - 1])
    used = -(-length // left)
    x = torch.matmul(matrices[0][:, :used].mT, y.reshape(-1, 2 * kept[0], left * C))
    return x.view(-1, used * left, C)[:, :length]


def times(a: Tensor, b: Tensor, *, conjugate: bool = False) -> Tensor:
    """The product of pairs on the third axis from the end, with b or its conjugate."""
    (ar, ai), (br, bi) = a.unbind(-3), b.unbind(-3)
    sign = 1 if conjugate else -1
    return torch.stack([torch.addcmul(ar * br, ai, bi, value=sign), torch.addcmul(ai * br, ar, bi, value=-sign)], -3)


def _turned(y: Tensor, twiddle: Tensor) -> Tensor:
    """(R, 2, c, M, C) times (2, c, M, 1); (R, c, 2, M, C), so that the next product finds its rows together."""
    (yr, yi), (tr, ti) = y.unbind(1), twiddle
    out = y.new_empty(len(y), y.shape[2], 2, *y.shape[3:])
    torch.addcmul(yr * tr, yi, ti, value=-1, out=out[:, :, 0])
    torch.addcmul(yr * ti, yi, tr, out=out[:, :, 1])
    return out


def _turned_back(y: Tensor, twiddle: Tensor) -> Tensor:
    """(R, c, 2, M, C) times the conjugate; (R, 2, c, M, C)."""
    (yr, yi), (tr, ti) = y.unbind(2), twiddle
    out = y.new_empty(len(y), 2, y.shape[1], *y.shape[3:])
    torch.addcmul(yr * tr, yi, ti, out=out[:, 0])
    torch.addcmul(yi * tr, yr, ti, value=-1, out=out[:, 1])
    return out


@lru_cache(maxsize=32)
def _matrices(
    factors: tuple[int, ...], kept: tuple[int, ...], mean: bool, dtype: torch.dtype, device: torch.device
) -> Matrices:
    """Each stage as a real matrix, (2 c_1, N_1) and (2 c_i, 2 N_i), and the twiddles (2, c_i, M_i, 1) between them."""
    matrices, twiddles, left = [], [], math.prod(factors)
    for i, (factor, count) in enumerate(zip(factors, kept, strict=True)):
        digit = torch.arange(count, dtype=torch.float64)[:, None]
        angle = -2 * math.pi / factor * (digit * torch.arange(factor) % factor)
        re, im = (part / factor if mean else part for part in (angle.cos(), angle.sin()))
        matrix = torch.cat([re, im]) if i == 0 else torch.cat([torch.cat([re, -im], 1), torch.cat([im, re], 1)])
        matrices.append(matrix.to(device, dtype))
        rest = left // factor
        if i + 1 < len(factors):
            angle = -2 * math.pi / left * (digit * torch.arange(rest) % left)
            twiddles.append(torch.stack([angle.cos(), angle.sin()])[..., None].to(device, dtype))
        left = rest
    return tuple(matrices), tuple(twiddles)
