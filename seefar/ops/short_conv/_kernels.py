"""The numba kernels of the short convolution. Imports numba at once.

A row of channels is taken after the other, so that every loop runs along numbers that lie side by side and the few
tokens before it are still in the first cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seefar.ops._exp2 import FAST, sigmoid

Array = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def token(b: int, t: int, flat: Array, row: int, step: int, past: Array) -> Array:
    """The channels of a token; one before the first is taken from the past."""
    D, before = past.shape[2], past.shape[1]
    if t < 0:
        return past[b, before + t]
    begin = b * row + t * step
    return flat[begin : begin + D]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def weigh(b: int, t: int, flat: Array, row: int, step: int, taps: Array, shift: Array, past: Array, out: Array) -> None:
    """out = the sum of token t before its SiLU; four taps in one pass, as most filters have."""
    K, D, k = len(taps), len(shift), 0
    first = t - K + 1
    for d in range(D):
        out[d] = shift[d]
    while k + 4 <= K:
        a0, a1 = token(b, first + k, flat, row, step, past), token(b, first + k + 1, flat, row, step, past)
        a2, a3 = token(b, first + k + 2, flat, row, step, past), token(b, first + k + 3, flat, row, step, past)
        f0, f1, f2, f3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        for d in range(D):
            out[d] += (f0[d] * a0[d] + f1[d] * a1[d]) + (f2[d] * a2[d] + f3[d] * a3[d])
        k += 4
    while k < K:
        a, f = token(b, first + k, flat, row, step, past), taps[k]
        for d in range(D):
            out[d] += f[d] * a[d]
        k += 1


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def forward(
    b: int,
    t0: int,
    t1: int,
    flat: Array,
    row: int,
    step: int,
    taps: Array,
    shift: Array,
    past: Array,
    y: Array,
    silu: bool,
) -> None:
    """y for tokens t0 ... t1 of row b."""
    for t in range(t0, t1):
        out = y[b, t]
        weigh(b, t, flat, row, step, taps, shift, past, out)
        if silu:
            for d in range(len(out)):
                out[d] = out[d] * sigmoid(out[d])


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward_sums(
    i: int,
    b: int,
    t0: int,
    t1: int,
    flat: Array,
    row: int,
    step: int,
    taps: Array,
    shift: Array,
    past: Array,
    dy: Array,
    silu: bool,
    dsum: Array,
    dtaps: Array,
    dshift: Array,
) -> None:
    """Gradients of the sums of tokens t0 ... t1 of row b, and what they add to those of taps and bias."""
    K, D = taps.shape
    one = taps.dtype.type(1)
    for t in range(t0, t1):
        g, given = dsum[b, t], dy[b, t]
        if silu:
            weigh(b, t, flat, row, step, taps, shift, past, g)
            for d in range(D):
                s = sigmoid(g[d])
                g[d] = given[d] * s * (one + g[d] * (one - s))
        else:
            for d in range(D):
                g[d] = given[d]
        total = dshift[i]
        for d in range(D):
            total[d] += g[d]
        for k in range(K):
            a, into = token(b, t - K + 1 + k, flat, row, step, past), dtaps[i, k]
            for d in range(D):
                into[d] += g[d] * a[d]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward_tokens(b: int, t0: int, t1: int, taps: Array, dsum: Array, dseen: Array) -> None:
    """Adds to the gradients of the past and x, one after the other: places t0 ... t1 of row b."""
    K, D = taps.shape
    N = dsum.shape[1]
    for place in range(t0, t1):
        into = dseen[b, place]
        for k in range(max(0, place - N + 1), min(K, place + 1)):
            g, f = dsum[b, place - k], taps[k]
            for d in range(D):
                into[d] += f[d] * g[d]
