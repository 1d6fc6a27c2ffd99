"""Long convolution: each channel filtered by a kernel that may be as long as the sequence.

B batch, N tokens, M taps; any trailing axes are independent channels.

| backend | runs on | gradients |
|---|---|---|
| fft | any device, float32 and float64 | autograd through the transforms, any number of times |
| reference | anything | autograd through the loop |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.long_conv import fft, reference

BACKENDS = {"fft": fft, "reference": reference}


def long_conv(u: Tensor, k: Tensor, *, backend: str | None = None) -> Tensor:
    """Each token becomes a sum over its past, weighted by how long ago that was.

    y_t = sum_s k_s * u_{t-s},    s from 0 to min(t, M - 1)

    Nothing wraps around: the last tokens never reach the first. Taps beyond the sequence change nothing.

    Args:
        u: (B, N, ...) inputs.
        k: (M, ...) taps, the one that acts at once first; axes of size 1 share them among channels.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        (B, N, ...) the filtered inputs.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> long_conv(torch.tensor([[[1.0], [0.0], [2.0]]]), torch.tensor([[1.0], [0.5]])).flatten().tolist()
        [1.0, 0.5, 2.0]
    """
    if u.ndim < 2 or k.ndim != u.ndim - 1:
        raise ValueError(f"long_conv: u is (B, N, ...) and k (M, ...), got {tuple(u.shape)} and {tuple(k.shape)}")
    if any(taps not in (1, channels) for taps, channels in zip(k.shape[1:], u.shape[2:], strict=True)):
        raise ValueError(
            f"long_conv: channels of k are those of u, {tuple(u.shape[2:])}, or 1 to share taps; "
            f"got {tuple(k.shape[1:])}"
        )
    if len(k) == 0:
        raise ValueError("long_conv: k has no taps; a kernel that passes nothing is torch.zeros(1, ...)")
    if (k.dtype, k.device) != (u.dtype, u.device):
        raise ValueError(
            f"long_conv: k is {k.dtype} on {k.device} but u is {u.dtype} on {u.device}; call k.to(u) first"
        )
    if u.shape[1] == 0:
        return u * k[0]
    return choose("long_conv", BACKENDS, backend, u)(u, k[: u.shape[1]])
