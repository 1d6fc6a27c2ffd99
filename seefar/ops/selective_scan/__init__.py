"""Selective scan: the state space recurrence of Mamba, whose step size, input and readout depend on the token.

Bt batch, N tokens, D channels, S states a channel.

| backend | runs on | gradients |
|---|---|---|
| numba | CPU, float32 and float64; `pip install 'seefar[fast]'` | one fused kernel; every 32nd state is kept |
| reference | anything | autograd through the loop |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.selective_scan import numba, reference

BACKENDS = {"numba": numba, "reference": reference}


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run S decaying memories beside each channel, written and read as each token asks.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = C_t . h_t + D u_t,    and y_t * silu(z_t) where z is given.

    A chunk goes on where the last one ended when it is given that one's second result as ``h0``.

    Args:
        u: (Bt, N, D) input.
        dt: (Bt, N, D) step size, already positive: softplus is the caller's business.
        A: (D, S) decay rates, real and negative.
        B: (Bt, N, S) how each token writes.
        C: (Bt, N, S) how each token reads.
        D: (D,) weight of the input beside the states.
        z: (Bt, N, D) gate before its SiLU.
        h0: (Bt, D, S) state before the first token, zero when left out.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        y (Bt, N, D) and the state after the last token (Bt, D, S).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Reference: Gu and Dao, Mamba, arXiv 2312.00752. Differs: tokens before channels, B and C shared by all channels
    (one group), the state is always returned.
    """
    _check(u, dt, A, B, C, D, z, h0)
    start = u.new_zeros((u.shape[0], *A.shape)) if h0 is None else h0
    if u.shape[1] == 0:
        return u * dt, start
    present = [tensor for tensor in (u, dt, A, B, C, D, z, h0) if tensor is not None]
    y, h_last = choose("selective_scan", BACKENDS, backend, *present)(u, dt, A, B, C, D, z, start)
    return y, h_last


def _check(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, h0: Tensor | None
) -> None:
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(
            f"selective_scan: u must be (Bt, N, D) and A (D, S), got {tuple(u.shape)} and {tuple(A.shape)}"
        )
    Bt, N, channels = u.shape
    S = A.shape[1]
    wanted = {
        "dt": (dt, (Bt, N, channels)),
        "A": (A, (channels, S)),
        "B": (B, (Bt, N, S)),
        "C": (C, (Bt, N, S)),
        "D": (D, (channels,)),
        "z": (z, (Bt, N, channels)),
        "h0": (h0, (Bt, channels, S)),
    }
    for name, (value, shape) in wanted.items():
        if value is None:
            continue
        if tuple(value.shape) != shape:
            raise ValueError(
                f"selective_scan: {name} must be {shape} beside u {tuple(u.shape)} and A {tuple(A.shape)}, "
                f"got {tuple(value.shape)}"
            )
        if (value.dtype, value.device) != (u.dtype, u.device):
            raise ValueError(
                f"selective_scan: {name} is {value.dtype} on {value.device} but u is {u.dtype} on {u.device}; "
                f"call {name}.to(u) first"
            )
