"""The numba kernel of attention from one query to picked blocks. Imports numba at once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAST = {"reassoc", "contract", "nsz", "arcp"}  # fast arithmetic that still keeps NaN and infinity what they are

Array = NDArray[np.floating]
Places = NDArray[np.int64]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def attend(q: Array, k: Array, v: Array, blocks: Places, m: int, scale: float, o: Array) -> None:
    """o (dv,) from q (d,), k (M, d), v (M, dv) of one head: scores, their softmax, the mean of the values."""
    place, score = np.empty(len(blocks) * m, np.int64), np.empty(len(blocks) * m, q.dtype)
    count, top = 0, q.dtype.type(-np.inf)
    for b in blocks:
        if b < 0:
            continue
        for t in range(b * m, min(b * m + m, k.shape[0])):
            total = q.dtype.type(0)
            for c in range(q.shape[0]):
                total += k[t, c] * q[c]
            place[count], score[count] = t, total * q.dtype.type(scale)
            top = max(top, score[count])
            count += 1
    o[:] = 0
    if count == 0:
        return
    whole = q.dtype.type(0)
    for j in range(count):
        weight = np.exp(score[j] - top)
        whole += weight
        for c in range(o.shape[0]):
            o[c] += weight * v[place[j], c]
    for c in range(o.shape[0]):
        o[c] /= whole
