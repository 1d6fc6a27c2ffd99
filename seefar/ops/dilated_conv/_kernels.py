"""The numba kernels of the dilated convolution, forward and backward. Imports numba at once.

One call takes LANES channels of one batch row, a cache line, through all levels. They are turned so that a channel's
tokens lie side by side; then each loop runs along tokens with the tap in a register. A level overwrites the one before
it, tile by tile from the end: a tile reads earlier tokens alone. So memory outside of the cache is read and written
once, whatever the number of levels. The backward computes the levels of a channel anew and keeps them for that long.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seefar.ops._exp2 import FAST

LANES = 16
TILE = 512
APART = 16  # rows of a power of two would fall on the same lines of the cache

Array = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def turned(b: int, d0: int, source: Array) -> Array:
    """(LANES, tokens) of row b of (B, tokens, D)."""
    buffer = np.empty((LANES, source.shape[1] + APART), source.dtype)
    for t in range(source.shape[1]):
        for j in range(min(LANES, source.shape[2] - d0)):
            buffer[j, t] = source[b, t, d0 + j]
    return buffer


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def turn_back(b: int, d0: int, buffer: Array, target: Array) -> None:
    for t in range(target.shape[1]):
        for j in range(min(LANES, target.shape[2] - d0)):
            target[b, t, d0 + j] = buffer[j, t]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def add_four(taps: Array, a0: Array, a1: Array, a2: Array, a3: Array, out: Array) -> None:
    """Loops count from zero along slices: an index that might be negative would keep them from being vectorised."""
    f0, f1, f2, f3 = taps[0], taps[1], taps[2], taps[3]
    for i in range(len(out)):
        out[i] += (f0 * a0[i] + f1 * a1[i]) + (f2 * a2[i] + f3 * a3[i])


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def add_two(taps: Array, a0: Array, a1: Array, out: Array) -> None:
    f0, f1 = taps[0], taps[1]
    for i in range(len(out)):
        out[i] += f0 * a0[i] + f1 * a1[i]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def add_one(tap: np.floating, a0: Array, out: Array) -> None:
    for i in range(min(len(out), len(a0))):
        out[i] += tap * a0[i]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def product(a: Array, b: Array) -> np.floating:
    total = a.dtype.type(0)
    for i in range(min(len(a), len(b))):
        total += a[i] * b[i]
    return total


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def gather(apart: int, t0: int, taps: Array, a: Array, past: Array, out: Array) -> None:
    """out[i] += sum_k taps_k a_{t0 + i - k apart}; the past, if there is one, stands before a."""
    K, k = len(taps), 0
    while k < K:
        left, first = K - k, t0 - k * apart
        if left >= 4 and first >= 3 * apart:
            second, third, fourth = first - apart, first - 2 * apart, first - 3 * apart
            add_four(taps[k:], a[first:], a[second:], a[third:], a[fourth:], out)
            k += 4
        elif left >= 2 and first >= apart:
            add_two(taps[k:], a[first:], a[first - apart :], out)
            k += 2
        else:
            inside = min(max(0, -first), len(out))
            add_one(taps[k], a[first + inside :], out[inside:])
            if inside > 0 and len(past) > 0:
                add_one(taps[k], past[len(past) + first :], out[:inside])
            k += 1


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def remember(a: Array, past: Array, after: Array) -> None:
    """The last tokens of the past and a, one after the other."""
    N, reach = len(a), len(after)
    for i in range(max(0, reach - N)):
        after[i] = past[N + i] if len(past) > 0 else 0
    for i in range(max(0, reach - N), reach):
        after[i] = a[N + i - reach]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def scatter(apart: int, t0: int, taps: Array, g: Array, out: Array) -> None:
    """out[i] += sum_k taps_k g_{t0 + i + k apart}; t0 may lie before the first token."""
    N, K, k = len(g), len(taps), 0
    while k < K:
        left, first = K - k, t0 + k * apart
        last = first + len(out)
        if left >= 4 and first >= 0 and last + 3 * apart <= N:
            second, third, fourth = first + apart, first + 2 * apart, first + 3 * apart
            add_four(taps[k:], g[first:], g[second:], g[third:], g[fourth:], out)
            k += 4
        elif left >= 2 and first >= 0 and last + apart <= N:
            add_two(taps[k:], g[first:], g[first + apart :], out)
            k += 2
        else:
            if first < N and last > 0:
                add_one(taps[k], g[max(0, first) :], out[max(0, -first) :])
            k += 1


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def correlate(shift: int, g: Array, a: Array, past: Array) -> np.floating:
    """sum_t g_t a_{t - shift}; the past, if there is one, stands before a."""
    inside = min(shift, len(a))
    total = product(g[inside:], a)
    if inside > 0 and len(past) > 0:
        total += product(g[:inside], past[len(past) - shift :])
    return total


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def forward(
    b: int,
    d0: int,
    dilations: NDArray[np.int64],
    has_high: bool,
    has_tail: bool,
    has_past: bool,
    x: Array,
    low: Array,
    high: Array,
    tail: Array,
    past: Array,
    y: Array,
    after: Array,
) -> None:
    """y and after for channels d0 ... d0 + LANES of row b."""
    N, P, J, K = x.shape[1], after.shape[1], low.shape[0], low.shape[1]
    whole = turned(b, d0, x)
    before = turned(b, d0, past) if has_past else np.empty((LANES, 0), x.dtype)
    behind = np.empty((LANES, P + APART), x.dtype)
    read, tile = np.empty(N, x.dtype), np.empty(TILE, x.dtype)
    for j in range(min(LANES, x.shape[2] - d0)):
        a, row = whole[j, :N], 0
        read[:] = 0
        for level in range(J):
            apart = dilations[level]
            reach = (K - 1) * apart
            old = before[j, row : row + reach]
            remember(a, old, behind[j, row : row + reach])
            down = low[level, :, d0 + j].copy()
            up = high[level, :, d0 + j].copy() if has_high else down
            for i in range((N - 1) // TILE, -1, -1):
                t0, t1 = i * TILE, min(N, (i + 1) * TILE)
                if has_high:
                    gather(apart, t0, up, a, old, read[t0:t1])
                tile[:] = 0
                gather(apart, t0, down, a, old, tile[: t1 - t0])
                a[t0:t1] = tile[: t1 - t0]
            row += reach
        if has_tail:
            a *= tail[d0 + j]
        if has_high:
            a += read
    turn_back(b, d0, whole, y)
    turn_back(b, d0, behind, after)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward(
    b: int,
    d0: int,
    dilations: NDArray[np.int64],
    has_high: bool,
    has_tail: bool,
    has_past: bool,
    has_end: bool,
    x: Array,
    low: Array,
    high: Array,
    tail: Array,
    past: Array,
    dy: Array,
    dafter: Array,
    dx: Array,
    dlow: Array,
    dhigh: Array,
    dtail: Array,
    dpast: Array,
) -> None:
    """All gradients for channels d0 ... d0 + LANES of row b, by dy and dafter."""
    N, P, J, K = x.shape[1], dpast.shape[1], low.shape[0], low.shape[1]
    whole, gone = turned(b, d0, x), turned(b, d0, dy)
    nothing = np.empty((LANES, 0), x.dtype)
    before, end = turned(b, d0, past) if has_past else nothing, turned(b, d0, dafter) if has_end else nothing
    begun = np.empty((LANES, P + APART), x.dtype)
    levels, read, tile = np.empty((J + 1, N + APART), x.dtype), np.empty(N, x.dtype), np.empty(TILE, x.dtype)
    for j in range(min(LANES, x.shape[2] - d0)):
        d, g, row = d0 + j, gone[j, :N], 0
        levels[0, :N] = whole[j, :N]
        levels[1:] = 0
        for level in range(J):
            reach = (K - 1) * dilations[level]
            old, down = before[j, row : row + reach], low[level, :, d].copy()
            for t0 in range(0, N, TILE):
                t1 = min(N, t0 + TILE)
                gather(dilations[level], t0, down, levels[level, :N], old, levels[level + 1, t0:t1])
            row += reach
        read[:] = g
        if has_tail:
            dtail[b, d] = correlate(0, g, levels[J, :N], nothing[j])
            g *= tail[d]
        for level in range(J - 1, -1, -1):
            apart, a = dilations[level], levels[level, :N]
            reach = (K - 1) * apart
            row -= reach
            old, down = before[j, row : row + reach], low[level, :, d].copy()
            up = high[level, :, d].copy() if has_high else down
            for k in range(K):
                dlow[b, level, k, d] = correlate(k * apart, g, a, old)
                if has_high:
                    dhigh[b, level, k, d] = correlate(k * apart, read, a, old)
            for place in range(row if has_past else row + reach, row + reach, TILE):
                size = min(TILE, row + reach - place)
                t0 = place - row - reach
                tile[:] = 0
                scatter(apart, t0, down, g, tile[:size])
                if has_high:
                    scatter(apart, t0, up, read, tile[:size])
                if has_end:
                    for i in range(max(0, row + N - place), size):
                        tile[i] += end[j, place + i - N]
                begun[j, place : place + size] = tile[:size]
            for t0 in range(0, N, TILE):
                t1 = min(N, t0 + TILE)
                tile[:] = 0
                scatter(apart, t0, down, g, tile[: t1 - t0])
                if has_high:
                    scatter(apart, t0, up, read, tile[: t1 - t0])
                if has_end:
                    for t in range(max(t0, N - reach), t1):
                        tile[t - t0] += end[j, row + reach - N + t]
                g[t0:t1] = tile[: t1 - t0]
    turn_back(b, d0, gone, dx)
    if has_past:
        turn_back(b, d0, begun, dpast)
