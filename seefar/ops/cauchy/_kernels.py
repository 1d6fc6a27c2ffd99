"""The numba kernels of the Cauchy sums, forward and backward, one channel a call. Imports numba at once.

With x = Re v, y = Re(v conj p), den = (c^2 abs(p)^2 - 4 s^2) - 4 i s c Re p and g + i h = den / abs(den)^2, a point is
sum_n (4 i s x_n - 2 c y_n) (g_n - i h_n). Poles are the innermost axis; doubling by addition keeps float32 what it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAST = {"reassoc", "contract", "nsz", "arcp"}  # fast arithmetic that still keeps NaN and infinity what they are

Array = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _inverse(s2: float, s4: float, c: float, real: Array, size: Array, g: Array, h: Array) -> None:
    """den / abs(den)^2 of every pole at one point."""
    one = g.dtype.type(1)
    for n in range(len(g)):
        reach = c * size[n]
        den_real = (reach - s2) * (reach + s2)
        den_imag = -s4 * c * real[n]
        scale = one / (den_real * den_real + den_imag * den_imag)
        g[n] = den_real * scale
        h[n] = den_imag * scale


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def forward(
    d: int, x: Array, y: Array, real: Array, size: Array, sine: Array, cosine: Array, out_real: Array, out_imag: Array
) -> None:
    """y_j of every row of one channel."""
    R, H = x.shape[1:]
    g, h = np.empty(H, x.dtype), np.empty(H, x.dtype)
    zero = x.dtype.type(0)
    for j in range(len(sine)):
        s2, c = sine[j] + sine[j], cosine[j]
        s4, c2 = s2 + s2, c + c
        _inverse(s2, s4, c, real[d], size[d], g, h)
        for r in range(R):
            gx, gy, hx, hy = zero, zero, zero, zero
            for n in range(H):
                gx += g[n] * x[d, r, n]
                gy += g[n] * y[d, r, n]
                hx += h[n] * x[d, r, n]
                hy += h[n] * y[d, r, n]
            out_real[d, r, j] = s4 * hx - c2 * gy
            out_imag[d, r, j] = s4 * gx + c2 * hy


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward(
    d: int,
    x: Array,
    y: Array,
    real: Array,
    size: Array,
    sine: Array,
    cosine: Array,
    by_real: Array,
    by_imag: Array,
    dx: Array,
    dy: Array,
    dreal: Array,
    dsize: Array,
) -> None:
    """Gradients of one channel, added up over points; t + i u is the sum over rows of conj(dL/dy) times numerator."""
    R, H = x.shape[1:]
    g, h, t, u = np.empty(H, x.dtype), np.empty(H, x.dtype), np.empty(H, x.dtype), np.empty(H, x.dtype)
    zero = x.dtype.type(0)
    for j in range(len(sine)):
        s2, c = sine[j] + sine[j], cosine[j]
        s4, c2 = s2 + s2, c + c
        _inverse(s2, s4, c, real[d], size[d], g, h)
        t[:] = zero
        u[:] = zero
        for r in range(R):
            p, q = by_real[d, r, j], by_imag[d, r, j]
            for n in range(H):
                dx[d, r, n] += s4 * (p * h[n] + q * g[n])
                dy[d, r, n] -= c2 * (p * g[n] - q * h[n])
                above, beside = s4 * x[d, r, n], c2 * y[d, r, n]
                t[n] += above * q - beside * p
                u[n] += above * p + beside * q
        for n in range(H):
            even, odd = g[n] * g[n] - h[n] * h[n], g[n] * h[n] + g[n] * h[n]
            dsize[d, n] -= (t[n] * even + u[n] * odd) * c * c2 * size[d, n]
            dreal[d, n] -= (u[n] * even - t[n] * odd) * s4 * c
