"""Long convolution between two gates, by transforms; short filters and sparse spectra cost less.

B batch, N tokens, M taps; any trailing axes are independent channels. n numbers of a transform, N_1 ... N_p.

| backend | runs on | gradients |
|---|---|---|
| fft | any device, float32 and float64 | autograd through the transforms |
| monarch | any device, half precision too | once, recomputed from the inputs |
| reference | anything | autograd through the loop |

On a CPU ``fft`` is the faster one, by much: matrix products take 8 to 17 times as many operations, which pays only
where a unit for them does 15 times as many in a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.fft_conv import fft, monarch, reference
from seefar.ops.fft_conv.plan import planned

BACKENDS = {"fft": fft, "monarch": monarch, "reference": reference}


def fft_conv(
    u: Tensor,
    k: Tensor,
    *,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    keep_time: int | None = None,
    keep_freq: Sequence[int] | None = None,
    factors: Sequence[int] | None = None,
    backend: str | None = None,
) -> Tensor:
    """Each token becomes a sum over its past, weighted by how long ago that was, between two gates.

    y_t = post_t sum_s k_s pre_{t-s} u_{t-s},    s from 0 to min(t, M - 1, keep_time - 1)

    ``keep_time`` takes the first taps alone (partial convolution). A sequence much longer than they are passes in
    pieces, so that the transforms do not grow with it. ``keep_freq`` takes some frequencies of the filter alone: those
    f <= n / 2 whose digits, f = k_1 + N_1 k_2 + N_1 N_2 k_3 ..., are all below its counts; their mirror images belong
    to them. (N_1, ..., N_(p-1), c) is a low-pass up to the frequency c n / N_p. What is cut sharply in frequency isn't
    cut in time any more: outputs then depend a little on later tokens, and, around the ring of n, the first on the
    last.

    Args:
        u: (B, N, ...) inputs, real.
        k: (M, ...) taps, the one that acts at once first; axes of size 1 share them among channels.
        pre_gate: like u.
        post_gate: like u.
        keep_time: taps that are used; None for all.
        keep_freq: counts c_i of the digits of f, one for each of ``factors``; None for all frequencies.
        factors: N_i; powers of two up to 32 when left out. They decide the cost of ``monarch``, and what the counts of
            ``keep_freq`` mean.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        (B, N, ...).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, complex numbers, factors too short for the sequence, or
            an unknown backend.
        RuntimeError: the named backend cannot run these tensors, such as float16 with many taps.

    Example:
        >>> import torch
        >>> u, k = torch.ones(1, 4, 1), torch.tensor([[1.0], [0.5], [0.25]])
        >>> fft_conv(u, k, keep_time=2, backend="monarch", factors=(4, 2)).flatten().round(decimals=3).tolist()
        [1.0, 1.5, 1.5, 1.5]

    Reference: Fu et al., FlashFFTConv, arXiv 2311.05908. Differs: spectra of real sequences are computed up to n / 2,
    by leaving out digits of the last factor, instead of packing two sequences into one; frequencies are left out with
    their mirror images; half precision rounds between stages.
    """
    if u.is_complex() or k.is_complex():
        raise ValueError(f"fft_conv: needs real numbers, got {u.dtype} and {k.dtype}; filter .real and .imag apart")
    if u.ndim < 2 or k.ndim != u.ndim - 1:
        raise ValueError(f"fft_conv: u is (B, N, ...) and k (M, ...), got {tuple(u.shape)} and {tuple(k.shape)}")
    if any(taps not in (1, channels) for taps, channels in zip(k.shape[1:], u.shape[2:], strict=True)):
        raise ValueError(
            f"fft_conv: channels of k are those of u, {tuple(u.shape[2:])}, or 1 to share taps; "
            f"got {tuple(k.shape[1:])}"
        )
    if 0 in (len(k), u.shape[1]):
        raise ValueError(f"fft_conv: needs a token and a tap, got {u.shape[1]} and {len(k)}")
    if keep_time is not None and keep_time < 1:
        raise ValueError(f"fft_conv: keep_time must be at least 1 tap, or None for all, got {keep_time}")
    for name, other in (("k", k), ("pre_gate", pre_gate), ("post_gate", post_gate)):
        if other is not None and (other.dtype, other.device) != (u.dtype, u.device):
            raise ValueError(
                f"fft_conv: {name} is {other.dtype} on {other.device} but u is {u.dtype} on {u.device}; call .to(u)"
            )
        if name != "k" and other is not None and other.shape != u.shape:
            raise ValueError(f"fft_conv: {name} must be like u, {tuple(u.shape)}, got {tuple(other.shape)}")
    k = k[: min(u.shape[1], keep_time or len(k))]
    plan = planned(u.shape[1], len(k), factors, keep_freq)
    y: Tensor = choose("fft_conv", BACKENDS, backend, u, k)(u, k, pre_gate, post_gate, plan)
    return y
