"""The numba kernel of attention with whole numbers. Imports numba at once.

Rows are queries of one head, padded to a multiple of four; keys come in tiles of 128, padded with zeros.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seefar.ops._exp2 import FAST, LOW_32, clamped, exp2, rounded, whole_power
from seefar.ops.int8_attention._dot import largest, tile

KEYS = 128
"""Of a tile, which share one scale. 128 products of 12 by 11 bits still fit into an int32."""
# 2^f for f in [-1/2, 1/2] by least squares of the relative error; the first coefficient is 1 exactly
ZERO, ONE = np.float32(0), np.float32(1)
C1, C2, C3, C4 = np.float32(0.6931220), np.float32(0.2402372), np.float32(0.0559169), np.float32(0.0096004)

Whole = NDArray[np.integer]
Real = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", inline="always")
def power2(x: float) -> float:
    """2^x for x <= 0 in float32, to 4e-6 of itself, which is plenty for a weight that is rounded to 12 bits."""
    x = clamped(x, LOW_32, ZERO)
    n = rounded(x)
    f = x - n
    return (ONE + f * (C1 + f * (C2 + f * (C3 + f * C4)))) * whole_power(n)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def products(a: Whole, b: Whole, out: Whole) -> None:
    """out (rows, 16 panels) int32 of a (rows, 2 P) and b (panels, P, 16, 2), both int16."""
    left, right, into = a.ctypes.data, b.ctypes.data, out.ctypes.data
    for panel in range(b.shape[0]):
        for row in range(0, a.shape[0], 4):
            tile(
                left + row * a.strides[0],
                a.strides[0],
                right + panel * b.strides[0],
                b.shape[1],
                into + row * out.strides[0] + 64 * panel,
                out.strides[0],
            )


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def attend(
    q: Whole,
    q_scale: float,
    k: Whole,
    k_scale: Real,
    v: Whole,
    v_scale: Real,
    places: tuple[int, int, int, int],
    o: Real,
    lse: Real,
) -> None:
    """o (n, dv) and lse (n,) in units of log 2 of rows q (rows, 2 D) of which the first n count.

    Args:
        q: int16.
        q_scale: of its numbers, times the scale of the scores, in units of log 2.
        k: (tiles, panels, D, 16, 2) int16.
        k_scale: (tiles,) float32.
        v: (tiles, panels, pairs of keys, 16, 2) int16.
        v_scale: (dv,) float32.
        places: keys there are; the last key that the first row may see, or at least as many to see all; levels of a
            weight of one; 1 where each row sees one key more than the one before it.
        o: float32.
        lse: float32.
    """
    M, last, levels, step = places
    rows, n, width = q.shape[0], o.shape[0], 16 * v.shape[1]
    scores, weights = np.empty((rows, KEYS), np.int32), np.zeros((rows, KEYS), np.int16)
    mixed, kept = np.empty((rows, width), np.int32), np.zeros((rows, width), np.float32)
    top, total = np.full(rows, np.float32(-np.inf)), np.zeros(rows, np.float32)
    power, half, there = np.float32(levels), np.float32(0.5), scores.ctypes.data
    for t in range(k_scale.shape[0]):
        start, unit = t * KEYS, np.float32(q_scale) * k_scale[t]
        if start > last + step * (n - 1):
            break
        products(q, k[t], scores)
        for row in range(n):
            seen = min(KEYS, M - start, last + step * row + 1 - start)
            if seen <= 0:
                weights[row] = 0
                continue
            if seen == KEYS:
                most = largest(there + row * scores.strides[0])
            else:
                most = scores[row, :seen].max()
                weights[row] = 0
            higher, whole = max(top[row], unit * np.float32(most)), np.float32(0)
            if seen == KEYS:  # a loop of known length takes half the time
                for j in range(KEYS):
                    much = power2(unit * np.float32(scores[row, j]) - higher)
                    whole += much
                    weights[row, j] = np.int16(much * power + half)
            else:
                for j in range(seen):
                    much = power2(unit * np.float32(scores[row, j]) - higher)
                    whole += much
                    weights[row, j] = np.int16(much * power + half)
            if higher > top[row]:
                fade = exp2(top[row] - higher) if start > 0 else np.float32(0)
                total[row] *= fade
                for c in range(width):
                    kept[row, c] *= fade
                top[row] = higher
            total[row] += whole
        products(weights, v[t], mixed)
        for row in range(n):
            for c in range(width):
                kept[row, c] += np.float32(mixed[row, c])
    for row in range(n):
        lse[row] = top[row] + np.log2(total[row])
        share = np.float32(0) if total[row] == 0 else 1 / (total[row] * power)
        for c in range(o.shape[1]):
            o[row, c] = kept[row, c] * share * v_scale[c]
