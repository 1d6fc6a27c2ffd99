"""State space duality: the scan of Mamba-2, one decay for a whole head, so that matrix products do most of the work.

Bt batch, N tokens, H heads, P channels of a head, G groups of heads that share B and C, S states of a channel.

| backend | runs on | work |
|---|---|---|
| chunked | floating dtypes on any device | matrix products inside and between chunks of 64 tokens |
| reference | anything | a loop over tokens |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.ssd import chunked, reference

BACKENDS = {"chunked": chunked, "reference": reference}


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run S decaying memories beside each channel, all of a head fading together, written and read as each token asks.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,    y_t = h_t C_t + D x_t

    A head is linear attention with queries C, keys B, values dt x and the decay exp(dt A). A chunk goes on where the
    last one ended when it is given that one's second result as ``h0``.

    Args:
        x: (Bt, N, H, P) input.
        dt: (Bt, N, H) step size, already positive: softplus is the caller's business.
        A: (H,) decay rates, real and negative.
        B: (Bt, N, G, S) how each token writes; head h belongs to group h // (H // G).
        C: (Bt, N, G, S) how each token reads.
        D: (H,) weight of the input beside the states.
        h0: (Bt, H, P, S) state before the first token, zero when left out.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        y (Bt, N, H, P) and the state after the last token (Bt, H, P, S).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 4, 1, 1)
        >>> y, h = ssd(one, one[..., 0], torch.tensor([0.5]).log(), one, one)
        >>> y.flatten().tolist(), h.item()
        ([1.0, 1.5, 1.75, 1.875], 1.875)

    Reference: Dao and Gu, Mamba-2, arXiv 2405.21060. Differs: the state is always returned.
    """
    _check(x, dt, A, B, C, D, h0)
    start = x.new_zeros((x.shape[0], *x.shape[2:], B.shape[3])) if h0 is None else h0
    if x.shape[1] == 0:
        return x * dt[..., None], start
    present = [tensor for tensor in (x, dt, A, B, C, D, h0) if tensor is not None]
    y, h_last = choose("ssd", BACKENDS, backend, *present)(x, dt, A, B, C, D, start)
    return y, h_last


def _check(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h0: Tensor | None) -> None:
    if x.ndim != 4 or B.ndim != 4:
        raise ValueError(f"ssd: x must be (Bt, N, H, P) and B (Bt, N, G, S), got {tuple(x.shape)} and {tuple(B.shape)}")
    (Bt, N, H, P), (G, S) = x.shape, B.shape[2:]
    if G == 0 or H % G:
        raise ValueError(f"ssd: {H} heads cannot share {G} groups evenly")
    wanted = {
        "dt": (dt, (Bt, N, H)),
        "A": (A, (H,)),
        "B": (B, (Bt, N, G, S)),
        "C": (C, (Bt, N, G, S)),
        "D": (D, (H,)),
        "h0": (h0, (Bt, H, P, S)),
    }
    for name, (value, shape) in wanted.items():
        if value is None:
            continue
        if tuple(value.shape) != shape:
            raise ValueError(
                f"ssd: {name} must be {shape} beside x {tuple(x.shape)} and B {tuple(B.shape)}, "
                f"got {tuple(value.shape)}"
            )
        if (value.dtype, value.device) != (x.dtype, x.device):
            raise ValueError(
                f"ssd: {name} is {value.dtype} on {value.device} but x is {x.dtype} on {x.device}; "
                f"call {name}.to(x) first"
            )
