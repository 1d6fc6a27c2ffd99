"""Softmax attention: causal, windowed, over packed films, with grouped heads and its log-sum-exp.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head.

| backend | runs | memory |
|---|---|---|
| sdpa | no log-sum-exp asked for, no query may lack a key, the mask small or needless | PyTorch's choice |
| tiled | floating dtypes on any device | O(N + M), forward and backward; skips what no query of a tile may see |
| reference | anything | O(N M) |
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.attention import reference, sdpa, tiled
from seefar.ops.attention.check import check_heads
from seefar.ops.attention.rules import Rules

BACKENDS = {"sdpa": sdpa, "tiled": tiled, "reference": reference}

Segments = Tensor | tuple[Tensor, Tensor]


@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    window: int | None = ...,
    segments: Segments | None = ...,
    scale: float | None = ...,
    return_lse: Literal[False] = ...,
    backend: str | None = ...,
) -> Tensor: ...
@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = ...,
    window: int | None = ...,
    segments: Segments | None = ...,
    scale: float | None = ...,
    return_lse: Literal[True],
    backend: str | None = ...,
) -> tuple[Tensor, Tensor]: ...


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
    segments: Segments | None = None,
    scale: float | None = None,
    return_lse: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Each query's mean of the values, weighted by how well their keys fit it.

    o_i = sum_j softmax_j(scale q_i . k_j) v_j over the keys j that query i may see. Query i stands at key M - N + i,
    so that a cache of earlier keys may be put in front. A query that sees no key gives zeros, a log-sum-exp of -inf
    and no gradient.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // (H // Hkv).
        v: (B, Hkv, M, dv) values.
        causal: no query sees a key after its own place.
        window: a query sees keys less than this far from its place: itself and the window - 1 before it when causal.
        segments: (B, N) int64 where N = M, or a pair of (B, N) and (B, M); only equal ones meet.
        scale: 1 / sqrt(d) when left out.
        return_lse: also return log sum_j exp(scale q_i . k_j), (B, H, N), with which partial results can be joined.
        backend: one of ``BACKENDS``; by default the first of them that can run this call.

    Returns:
        (B, H, N, dv), and the log-sum-exp (B, H, N) where it was asked for.

    Raises:
        ValueError: shapes, dtypes or options that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run this call.

    Reference: Dao et al., FlashAttention, arXiv 2205.14135 and 2307.08691, for the tiles and the recomputing backward.
    """
    _check(q, k, v, window)
    rules = Rules(
        N=q.shape[2],
        M=k.shape[2],
        causal=causal,
        window=window,
        segments=_pair(segments, q, k),
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        lse=return_lse,
    )
    k, v, rules = _narrow(k, v, rules)
    run = choose("attention", BACKENDS, backend, q, k, v, rules)
    o, lse = run(q, k, v, rules)
    return (o, lse) if return_lse else o


def _narrow(k: Tensor, v: Tensor, rules: Rules) -> tuple[Tensor, Tensor, Rules]:
    """The same call with only the keys that any query may see, and without rules that forbid nothing."""
    first, last = rules.keys_of(0, rules.N)
    causal, window, segments = rules.causal, rules.window, rules.segments
    if rules.N == 1 and last > first:  # one token beside its cache: whatever is in reach is seen
        k, v = k[:, :, first:last], v[:, :, first:last]
        segments = None if segments is None else (segments[0], segments[1][:, first:last])
        causal, window = False, None
    elif window is not None and window >= max(rules.N, rules.M):
        window = None
    return k, v, Rules(rules.N, k.shape[2], causal, window, segments, rules.scale, rules.lse)


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> None:
    check_heads("attention", q, k, v)
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise ValueError(f"attention: window must be a positive int, or None for no limit, got {window!r}")


def _pair(segments: Segments | None, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor] | None:
    if segments is None:
        return None
    pair = (segments, segments) if isinstance(segments, Tensor) else segments
    wanted = (q.shape[0], q.shape[2]), (k.shape[0], k.shape[2])
    if tuple(tuple(part.shape) for part in pair) != wanted:
        got = [tuple(part.shape) for part in pair]
        raise ValueError(
            f"attention: segments must be (B, N) and (B, M), here {wanted[0]} and {wanted[1]}, got {got}; "
            "one tensor serves for both only where N = M"
        )
    if any(part.dtype != torch.int64 for part in pair):
        raise ValueError(f"attention: segments must be int64, got {[part.dtype for part in pair]}; call .long()")
    return pair
