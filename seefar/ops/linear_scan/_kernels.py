"""The numba kernels of the linear scan, forward and backward. Imports numba at once.

One call works on LANES channels of one batch row. Channels are the innermost axis, so each token is a few vector
instructions; the scan is bound by memory and reads each number once.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

LANES = 256
EVERY = 64
FAST = {"reassoc", "contract", "nsz", "arcp"}  # fast arithmetic that still keeps NaN and infinity what they are

Array = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def forward(row: int, d0: int, a: Array, b: Array, h0: Array, tiny: float, h: Array) -> None:
    """h_t = a_t h_{t-1} + b_t for channels d0 ... d0 + LANES of one row."""
    w = min(LANES, a.shape[2] - d0)
    state = np.empty(w, a.dtype)
    state[:] = h0[row, d0 : d0 + w]
    for t in range(a.shape[1]):
        gain, push, out = a[row, t, d0 : d0 + w], b[row, t, d0 : d0 + w], h[row, t, d0 : d0 + w]
        if t % EVERY == 0:
            for j in range(w):
                state[j] = state[j] if not abs(state[j]) < tiny else a.dtype.type(0)
        for j in range(w):
            state[j] = gain[j] * state[j] + push[j]
            out[j] = state[j]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward(
    row: int, d0: int, a: Array, h0: Array, h: Array, dh: Array, tiny: float, da: Array, db: Array, dh0: Array
) -> None:
    """g_t = dL/dh_t + a_{t+1} g_{t+1} from the last token to the first; db = g, da_t = g_t h_{t-1}."""
    w = min(LANES, a.shape[2] - d0)
    carry = np.zeros(w, a.dtype)
    for t in range(a.shape[1] - 1, -1, -1):
        gain, grad = a[row, t, d0 : d0 + w], dh[row, t, d0 : d0 + w]
        before = h[row, t - 1, d0 : d0 + w] if t > 0 else h0[row, d0 : d0 + w]
        by_gain, by_push = da[row, t, d0 : d0 + w], db[row, t, d0 : d0 + w]
        if t % EVERY == 0:
            for j in range(w):
                carry[j] = carry[j] if not abs(carry[j]) < tiny else a.dtype.type(0)
        for j in range(w):
            g = grad[j] + carry[j]
            by_push[j] = g
            by_gain[j] = g * before[j]
            carry[j] = g * gain[j]
    dh0[row, d0 : d0 + w] = carry
