"""Causal dilated convolution: each channel passes through a cascade of short filters whose taps lie ever further apart.

B batch, N tokens, D channels, J levels, K taps of a filter, P tokens that a stream holds.

| backend | runs on | gradients |
|---|---|---|
| numba | CPU, float32 and float64; `pip install 'seefar[fast]'` | one fused kernel; no level leaves the cache |
| shifted | anything | autograd, any number of times |
| reference | anything | autograd through the loop |
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.dilated_conv import numba, reference, shifted

BACKENDS = {"numba": numba, "shifted": shifted, "reference": reference}


def dilated_conv(
    x: Tensor,
    low: Tensor,
    high: Tensor | None = None,
    tail: Tensor | None = None,
    past: Tensor | None = None,
    *,
    dilations: Sequence[int],
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Filter each channel level by level, and read every level that a second filter taps.

    a_0 = x,    a_{j+1} = low_j * a_j,    y = tail a_J + sum_j high_j * a_j
    (f_j * a)_t = sum_k f_{j,k} a_{t - k dilations_j},    k from 0 to K - 1, nothing before the first token

    One level with dilation 1 is a depthwise convolution; J levels without ``high`` a temporal convolution network
    without activations; with ``high`` a wavelet transform that is not decimated. y_t depends on tokens up to t, and on
    the (K - 1) sum(dilations) before it. A chunk goes on where the last one ended when it is given that one's second
    result as ``past``.

    Args:
        x: (B, N, D).
        low: (J, K, D) taps that lead to the next level, the one that acts at once first.
        high: (J, K, D) taps by which a level is read; None reads none but the last.
        tail: (D,) weight of the last level; None for 1.
        past: (B, P, D) the inputs that each level still needs, those of x first; None for zeros.
        dilations: J distances between taps, in tokens.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        y (B, N, D) and the past (B, P, D) after the last token, P = (K - 1) sum(dilations).

    Raises:
        ValueError: shapes, dtypes, devices or dilations that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0], [0.0], [0.0], [0.0], [0.0]]])
        >>> dilated_conv(x, torch.ones(2, 2, 1), dilations=(1, 2))[0].flatten().tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0]
    """
    _check(x, low, high, tail, past, dilations)
    if x.shape[1] == 0:
        P = (low.shape[1] - 1) * sum(dilations)
        return x * low[0, :1], x.new_zeros(len(x), P, x.shape[2]) if past is None else past
    if past is not None and past.shape[1] == 0:  # filters of one tap need none
        past = None
    present = [tensor for tensor in (x, low, high, tail, past) if tensor is not None]
    y, after = choose("dilated_conv", BACKENDS, backend, *present)(x, low, high, tail, past, tuple(dilations))
    return y, after


def _check(
    x: Tensor,
    low: Tensor,
    high: Tensor | None,
    tail: Tensor | None,
    past: Tensor | None,
    dilations: Sequence[int],
) -> None:
    if x.ndim != 3 or low.ndim != 3 or 0 in low.shape[:2]:
        raise ValueError(
            f"dilated_conv: x must be (B, N, D) and low (J, K, D) with a level and a tap, got {tuple(x.shape)} and "
            f"{tuple(low.shape)}"
        )
    if len(dilations) != len(low) or min(dilations) < 1:
        raise ValueError(
            f"dilated_conv: {len(low)} levels need as many dilations, each at least 1, got {tuple(dilations)}"
        )
    (J, K, _), (B, _, D) = low.shape, x.shape
    wanted = {
        "low": (low, (J, K, D)),
        "high": (high, (J, K, D)),
        "tail": (tail, (D,)),
        "past": (past, (B, (K - 1) * sum(dilations), D)),
    }
    for name, (value, shape) in wanted.items():
        if value is None:
            continue
        if tuple(value.shape) != shape:
            raise ValueError(
                f"dilated_conv: {name} must be {shape} beside x {tuple(x.shape)} and low {tuple(low.shape)}, got "
                f"{tuple(value.shape)}"
            )
        if (value.dtype, value.device) != (x.dtype, x.device):
            raise ValueError(
                f"dilated_conv: {name} is {value.dtype} on {value.device} but x is {x.dtype} on {x.device}; "
                f"call {name}.to(x) first"
            )
