"""Softmax attention whose products are of 8-bit whole numbers, for inference.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head.

| backend | runs | memory |
|---|---|---|
| numba | on a CPU, where numba is installed | O(N + M), tiles of scores |
| reference | anything | O(N M) |
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.attention.check import check_heads
from seefar.ops.int8_attention import numba, reference
from seefar.ops.int8_attention.quantize import centred
from seefar.ops.int8_attention.rules import Rounded

BACKENDS = {"numba": numba, "reference": reference}

Kind = Literal["qk", "all"]
LEVELS = {"qk": (4095, 2047), "all": (127, 127)}
"""Of weights and values: 128 products of both stay within an int32."""


def int8_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    scale: float | None = None,
    kind: Kind = "qk",
    smooth: bool = True,
    return_lse: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Each query's mean of the values, weighted by how well their keys fit it, nearly; products are of whole numbers.

    o_i = sum_j softmax_j(scale q_i . k_j) v_j, with 128 queries, 128 keys, and all values of a channel rounded to
    steps of their largest. Keys are rounded less their mean, which no softmax sees.

    Without gradients. Weights are rounded as well: to 4095 steps, so that the error does not grow with M, or to 127 in
    kind "all", where it does, since small weights vanish.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // (H // Hkv).
        v: (B, Hkv, M, dv) values.
        causal: query i, which stands at key M - N + i, sees no key after it.
        scale: 1 / sqrt(d) when left out.
        kind: "qk": queries and keys have 8 bits, weights 12 and values 12. "all": all of them have 8.
        smooth: take the mean of the keys off; only to see what happens without it would one not.
        return_lse: also return log sum_j exp(scale q_i . k_j), (B, H, N) float32, to about 0.01.
        backend: one of ``BACKENDS``; by default the first of them that can run this call.

    Returns:
        (B, H, N, dv) in the dtype of q, and the log-sum-exp where it was asked for. A query that sees no key gives
        zeros and -inf.

    Raises:
        ValueError: shapes or options that do not fit, a tensor that wants gradients, or an unknown backend.
        RuntimeError: the named backend cannot run this call.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 100, 16)
        >>> exact = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        >>> torch.cosine_similarity(int8_attention(q, k, v).flatten(), exact.flatten(), 0).item() > 0.999
        True

    Reference: Zhang et al., SageAttention, arXiv 2410.02367. Differs: where it keeps weights and values in float16 we
    keep them as whole numbers of 12 bits, which a CPU multiplies as fast as those of 8; values are rounded by channel
    in both kinds; 128 keys share a scale, not 64.
    """
    check_heads("int8_attention", q, k, v)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError("int8_attention: has no gradients; call it under torch.no_grad(), or ops.attention to train")
    if kind not in LEVELS:
        raise ValueError(f"int8_attention: kind is 'qk' or 'all', got {kind!r}")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    how = Rounded(causal, scale, *LEVELS[kind])
    run = choose("int8_attention", BACKENDS, backend, q)
    if 0 in (q.shape[2], k.shape[2]):
        o, lse = q.new_zeros(*q.shape[:3], v.shape[-1]), torch.full(q.shape[:3], -torch.inf, device=q.device)
        return (o, lse) if return_lse else o
    q32, k32 = q.detach().float(), k.detach().float()
    k32, mean = centred(k32) if smooth else (k32, torch.zeros_like(k32[:, :, :1]))
    o, lse = run(q32, k32, v.detach().float(), how)
    if not return_lse:
        return o.to(q.dtype)
    shared = mean.repeat_interleave(q.shape[1] // k.shape[1], 1)
    return o.to(q.dtype), lse + (q32 * shared).sum(-1) * scale
