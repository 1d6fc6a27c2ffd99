"""Short causal convolution: each channel weighs its last few tokens, and may pass the sum through a SiLU.

B batch, N tokens, D channels, K taps.

| backend | runs on | gradients |
|---|---|---|
| numba | CPU, float32 and float64; `pip install 'seefar[fast]'` | fused; the sum before the SiLU is made anew |
| shifted | anything | autograd, any number of times |
| reference | anything | autograd through the loop |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.short_conv import numba, reference, shifted

BACKENDS = {"numba": numba, "shifted": shifted, "reference": reference}


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past: Tensor | None = None,
    *,
    silu: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Filter each channel over its last K tokens; tokens stay before channels, so nothing is turned.

    s_t = bias + sum_k weight_k x_{t - K + 1 + k},    y_t = s_t, or s_t sigmoid(s_t) with ``silu``

    A chunk goes on where the last one ended when it is given that one's second result as ``past``. For taps that lie
    apart, and for several levels of them, see ``dilated_conv``.

    Args:
        x: (B, N, D).
        weight: (D, K) taps, that of the present token last, as in a depthwise ``nn.Conv1d``.
        bias: (D,), or None.
        past: (B, K - 1, D) the tokens before the first, None for zeros.
        silu: whether the sum passes through a SiLU.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        y (B, N, D), and the last K - 1 tokens (B, K - 1, D), a copy.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> y, past = short_conv(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[10.0, 1.0]]))
        >>> y.flatten().tolist(), past.flatten().tolist()
        ([1.0, 12.0, 23.0], [3.0])
    """
    _check(x, weight, bias, past)
    if past is None:
        past = x.new_zeros(len(x), weight.shape[1] - 1, x.shape[2])
    if x.shape[1] == 0:
        return x * weight[:, 0], past
    present = [tensor for tensor in (x, weight, bias, past) if tensor is not None]
    y, after = choose("short_conv", BACKENDS, backend, *present)(x, weight, bias, past, silu)
    return y, after


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor | None) -> None:
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[1] < 1:
        raise ValueError(
            f"short_conv: x must be (B, N, D) and weight (D, K) with a tap, got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}; of an nn.Conv1d with one group a channel it is weight[:, 0]"
        )
    (B, _, D), K = x.shape, weight.shape[1]
    wanted = {"weight": (weight, (D, K)), "bias": (bias, (D,)), "past": (past, (B, K - 1, D))}
    for name, (value, shape) in wanted.items():
        if value is None:
            continue
        if tuple(value.shape) != shape:
            raise ValueError(
                f"short_conv: {name} must be {shape} beside x {tuple(x.shape)} and {K} taps, got {tuple(value.shape)}"
            )
        if (value.dtype, value.device) != (x.dtype, x.device):
            raise ValueError(
                f"short_conv: {name} is {value.dtype} on {value.device} but x is {x.dtype} on {x.device}; "
                f"call {name}.to(x) first"
            )
