"""The numba kernels of the selective scan, forward and backward. Imports numba at once.

One call works on LANES channels of one batch row, from the first token to the last (or back). Channels are the
innermost axis everywhere, so every loop over them is a handful of vector instructions whatever the number of states.
States are kept at every EVERY-th token; the backward recomputes those in between, so its memory does not hold N D S.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seefar.ops._exp2 import FAST, LN2, exp2, sigmoid

LANES = 64
EVERY = 32
AHEAD = 8  # tokens; it divides EVERY

Array = NDArray[np.floating]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def advance(a: Array, h: Array, step: Array, push: Array, out: Array, writes: Array, reads: Array) -> None:
    """h <- 2^(step a) h + push B_t, out += C_t h, for LANES channels of one token."""
    for s in range(len(a)):
        rate, state, write, read = a[s], h[s], writes[s], reads[s]
        for j in range(LANES):
            new = exp2(step[j] * rate[j]) * state[j] + push[j] * write
            state[j] = new
            out[j] += read * new


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def forward(
    b: int,
    d0: int,
    d1: int,
    u: Array,
    dt: Array,
    rate: Array,
    B: Array,
    C: Array,
    D: Array,
    z: Array,
    h0: Array,
    tiny: float,
    y: Array,
    h_last: Array,
    kept: Array,
    gated: bool,
    keep: bool,
) -> None:
    """y and h_last for channels d0 ... d1 of row b; rate is A log2(e); kept receives every EVERY-th state.

    A few tokens are read and written at a time with all their channels: memory is fast along a row alone.
    """
    N, S = B.shape[1], B.shape[2]
    width = d1 - d0
    blocks = -(-width // LANES)
    zero = u.dtype.type(0)
    a, h = np.full((blocks, S, LANES), zero), np.full((blocks, S, LANES), zero)
    step, push, out = (
        np.full((AHEAD, blocks * LANES), zero),
        np.full((AHEAD, blocks * LANES), zero),
        np.full((AHEAD, blocks * LANES), zero),
    )
    for k in range(blocks):
        first = k * LANES
        for s in range(S):
            for j in range(min(LANES, width - first)):
                a[k, s, j] = rate[d0 + first + j, s]
                h[k, s, j] = h0[b, d0 + first + j, s]
    for t0 in range(0, N, AHEAD):
        if t0 % EVERY == 0:
            for k in range(blocks):
                first = k * LANES
                for s in range(S):
                    for j in range(LANES):
                        h[k, s, j] = h[k, s, j] if not abs(h[k, s, j]) < tiny else zero
                    if keep:
                        for j in range(min(LANES, width - first)):
                            kept[b, t0 // EVERY, s, d0 + first + j] = h[k, s, j]
        many = min(AHEAD, N - t0)
        for i in range(many):
            for j in range(width):
                step[i, j] = dt[b, t0 + i, d0 + j]
                push[i, j] = dt[b, t0 + i, d0 + j] * u[b, t0 + i, d0 + j]
                out[i, j] = D[d0 + j] * u[b, t0 + i, d0 + j]
        for k in range(blocks):
            first, last = k * LANES, (k + 1) * LANES
            for i in range(many):
                t = t0 + i
                advance(a[k], h[k], step[i, first:last], push[i, first:last], out[i, first:last], B[b, t], C[b, t])
        for i in range(many):
            if gated:
                for j in range(width):
                    gate = z[b, t0 + i, d0 + j]
                    y[b, t0 + i, d0 + j] = out[i, j] * gate * sigmoid(gate)
            else:
                for j in range(width):
                    y[b, t0 + i, d0 + j] = out[i, j]
    for k in range(blocks):
        first = k * LANES
        for s in range(S):
            for j in range(min(LANES, width - first)):
                h_last[b, d0 + first + j, s] = h[k, s, j]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def backward(
    b: int,
    d0: int,
    u: Array,
    dt: Array,
    rate: Array,
    B: Array,
    C: Array,
    D: Array,
    z: Array,
    kept: Array,
    tiny: float,
    dy: Array,
    dh_last: Array,
    du: Array,
    ddt: Array,
    dA: Array,
    dB: Array,
    dC: Array,
    dD: Array,
    dz: Array,
    dh0: Array,
    gated: bool,
) -> None:
    """Every gradient for channels d0 ... d0 + LANES of row b; dB and dC are this block's share of theirs.

    With g = dL/dh_t: g_t = dy_t C_t + exp(dt_{t+1} A) g_{t+1}, from the last token to the first.
    """
    N, S = B.shape[1], B.shape[2]
    w = min(LANES, u.shape[2] - d0)
    block = d0 // LANES
    zero, one, ln2 = u.dtype.type(0), u.dtype.type(1), u.dtype.type(LN2)
    a, carry, rates = np.full((S, LANES), zero), np.full((S, LANES), zero), np.full((S, LANES), zero)
    states, decays = np.full((EVERY + 1, S, LANES), zero), np.full((EVERY, S, LANES), zero)
    steps, pushes, outs = np.full((EVERY, LANES), zero), np.full((EVERY, LANES), zero), np.full((EVERY, LANES), zero)
    grad, by_push, by_step, by_skip = (
        np.full(LANES, zero),
        np.full(LANES, zero),
        np.full(LANES, zero),
        np.full(LANES, zero),
    )
    for s in range(S):
        for j in range(w):
            a[s, j] = rate[d0 + j, s]
            carry[s, j] = dh_last[b, d0 + j, s]
    for chunk in range((N - 1) // EVERY, -1, -1):
        t0 = chunk * EVERY
        n = min(EVERY, N - t0)
        for s in range(S):
            for j in range(w):
                states[0, s, j] = kept[b, chunk, s, d0 + j]
            for j in range(LANES):
                carry[s, j] = carry[s, j] if not abs(carry[s, j]) < tiny else zero
        for i in range(n):
            for j in range(w):
                steps[i, j] = dt[b, t0 + i, d0 + j]
                pushes[i, j] = dt[b, t0 + i, d0 + j] * u[b, t0 + i, d0 + j]
                outs[i, j] = D[d0 + j] * u[b, t0 + i, d0 + j]
            step, push, out = steps[i], pushes[i], outs[i]
            for s in range(S):
                write, read = B[b, t0 + i, s], C[b, t0 + i, s]
                before, after, decay, row = states[i, s], states[i + 1, s], decays[i, s], a[s]
                for j in range(LANES):
                    decay[j] = exp2(step[j] * row[j])
                    after[j] = decay[j] * before[j] + push[j] * write
                if gated:
                    for j in range(LANES):
                        out[j] += read * after[j]
        for i in range(n - 1, -1, -1):
            t = t0 + i
            for j in range(w):
                grad[j] = dy[b, t, d0 + j]
            if gated:
                for j in range(w):
                    gate = z[b, t, d0 + j]
                    half_open = sigmoid(gate)
                    dz[b, t, d0 + j] = grad[j] * outs[i, j] * half_open * (one + gate * (one - half_open))
                    grad[j] *= gate * half_open
            for j in range(LANES):
                by_push[j] = zero
                by_step[j] = zero
            step, push = steps[i], pushes[i]
            for s in range(S):
                write, read = B[b, t, s], C[b, t, s]
                before, after, decay, row, total, back = (
                    states[i, s],
                    states[i + 1, s],
                    decays[i, s],
                    a[s],
                    rates[s],
                    carry[s],
                )
                by_read = zero
                by_write = zero
                for j in range(LANES):
                    g = back[j] + grad[j] * read
                    by_read += grad[j] * after[j]
                    by_write += g * push[j]
                    by_push[j] += g * write
                    g *= decay[j]
                    back[j] = g
                    g *= before[j]
                    by_step[j] += g * row[j]
                    total[j] += g * step[j]
                dC[block, b, t, s] = by_read
                dB[block, b, t, s] = by_write
            for j in range(w):
                du[b, t, d0 + j] = by_push[j] * step[j] + grad[j] * D[d0 + j]
                ddt[b, t, d0 + j] = by_push[j] * u[b, t, d0 + j] + by_step[j] * ln2
                by_skip[j] += grad[j] * u[b, t, d0 + j]
    for j in range(w):
        dD[b, d0 + j] = by_skip[j]
        for s in range(S):
            dA[b, d0 + j, s] = rates[s, j]
            dh0[b, d0 + j, s] = carry[s, j]
