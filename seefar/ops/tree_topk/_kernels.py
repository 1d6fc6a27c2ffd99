"""The numba kernel of the search by halves, for one query. Imports numba at once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAST = {"reassoc", "contract", "nsz", "arcp"}  # fast arithmetic that still keeps NaN and infinity what they are

Array = NDArray[np.floating]
Places = NDArray[np.int64]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _score(q: Array, k: Array, place: int, m: int) -> np.floating:
    """The highest product of the query with any key of the block at ``place``."""
    best = q.dtype.type(-np.inf)
    for t in range(place * m, min(place * m + m, k.shape[0])):
        total = q.dtype.type(0)
        for c in range(q.shape[0]):
            total += k[t, c] * q[c]
        best = max(best, total)
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def _rank(x: Array, place: int) -> np.floating:
    """What would stand at ``place`` if x were sorted; x is mixed up on the way."""
    low, high = 0, len(x) - 1
    while low < high:
        middle, i, j = x[(low + high) // 2], low, high
        while i <= j:
            while x[i] < middle:
                i += 1
            while x[j] > middle:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return x[place]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def search(q: Array, k: Array, first: int, stop: int, m: int, found: Places) -> None:
    """Fill ``found`` (G,) with the blocks that are left of first ... stop - 1, in any order; -1 is there before.

    q (d,) and k (M, d) are of one head.
    """
    count, size = len(found), max(0, stop - first)
    if size <= count:
        for j in range(size):
            found[j] = first + j
        return
    low, high, score = np.empty(2 * count, np.int64), np.empty(2 * count, np.int64), np.empty(2 * count, q.dtype)
    for j in range(count):
        low[j], high[j] = first + j * size // count, first + (j + 1) * size // count
        score[j] = _score(q, k, low[j], m)
    widest = (size + count - 1) // count
    while widest > 1:
        halves = count
        for j in range(count):
            middle = (low[j] + high[j] + 1) // 2
            if middle < high[j]:
                low[halves], high[halves] = middle, high[j]
                score[halves] = _score(q, k, middle, m)
                high[j] = middle
                halves += 1
        if halves > count:
            bar = _rank(score[:halves].copy(), halves - count)
            above = 0
            for j in range(halves):
                above += score[j] > bar
            kept, ties = 0, count - above
            for j in range(halves):
                if score[j] > bar or (score[j] == bar and ties > 0):
                    ties -= score[j] == bar
                    low[kept], high[kept], score[kept] = low[j], high[j], score[j]
                    kept += 1
        widest = (widest + 1) // 2
    found[:] = low[:count]
