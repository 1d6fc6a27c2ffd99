"""Taylor attention: weights are a parabola of q . k in place of its exponential, so all pairs can be had without pairs.

B batch, H heads, N queries, M keys, d width of a query or key, dv width of a value.

| backend | products and sums | runs |
|---|---|---|
| linear | (d + 1)(d + 2)(dv + 1)(N + M) | from ``switch.pays_from(d)`` tokens on |
| direct | 2 (d + dv + 2) N M | below |
| outer | 2 (d + 1)^2 (dv + 1)(N + M) | where it is asked for; the authors' form |
| reference | the weights written out | where it is asked for |

Memory grows with N + M in the first three, also that of training, unless ``tile`` is None; the sums over keys are
(d + 1)(d + 2)(dv + 1) / 2 numbers a head.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.taylor_attention import direct, linear, outer, reference
from seefar.ops.taylor_attention.square import exact

BACKENDS = {"linear": linear, "direct": direct, "outer": outer, "reference": reference}


class Parabola(NamedTuple):
    """a s^2 + b s + c; the default is the Taylor polynomial of exp(s)."""

    a: float = 0.5
    b: float = 1.0
    c: float = 1.0


def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    parabola: Parabola | None = None,
    tile: int | None = 256,
    backend: str | None = None,
) -> Tensor:
    """Each query's mean of the values, weighted by a parabola of how well their keys fit it.

    o_i = sum_j w_ij v_j / sum_j w_ij,    w_ij = a s^2 + b s + c >= 0,    s = q_i . k_j

    Every query sees every key. With h = b / 2a the weight is a ((s + h)^2 + c / a - h^2), and the square of a product
    is a product of squares: (s + h)^2 = vec(q' q'^T) . vec(k' k'^T) with q' = (q, h) and k' = (k, 1). So ``linear``
    sums vec(k' k'^T) (v, 1)^T once over all keys, and each query reads from that. Where no key is visible, zeros.

    Args:
        q: (B, H, N, d) queries, scaled; bounded ones, such as of length one, keep half precision exact.
        k: (B, H, M, d) keys.
        v: (B, H, M, dv) values.
        mask: (B, M) bool, False on keys that no query sees.
        parabola: the weights.
        tile: tokens at a time, so that what is between two products stays in the cache; their backward computes it
            anew. None for all at once, as the authors do.
        backend: one of ``BACKENDS``; by default ``linear`` where it pays, else ``direct``.

    Returns:
        (B, H, N, dv); half precision is summed in float32.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, a parabola that falls below 0, or an unknown backend.

    Reference: Nauen et al., TaylorShift, arXiv 2403.02920. Differs: the square is completed, which leaves one term
    of the three, and products of two different numbers are made once. Scales against overflow are not needed where
    sums are float32 at least.
    """
    parabola = parabola or Parabola()
    _check(q, k, v, mask, parabola, tile)
    run = choose("taylor_attention", BACKENDS, backend, q, k, v, mask, backend is not None)
    kind = exact(q)
    return run(q.to(kind), k.to(kind), v.to(kind), mask, parabola, tile).to(v.dtype)


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: Parabola, tile: int | None) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not (q.ndim == k.ndim == v.ndim == 4 and k.shape[:3] == v.shape[:3]):
        raise ValueError(f"taylor_attention: needs q (B, H, N, d), k (B, H, M, d), v (B, H, M, dv), got {shapes}")
    if q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3] or not (q.shape[2] and k.shape[2]):
        raise ValueError(f"taylor_attention: needs tokens, and equal batch, heads and width of q and k, got {shapes}")
    if len({(t.dtype, t.device) for t in (q, k, v)}) > 1 or not q.is_floating_point():
        kinds = ", ".join(f"{name} {t.dtype} on {t.device}" for name, t in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"taylor_attention: q, k and v must have one floating dtype and device, got {kinds}")
    if mask is not None and (mask.shape != (k.shape[0], k.shape[2]) or mask.dtype.is_floating_point):
        want = (k.shape[0], k.shape[2])
        raise ValueError(f"taylor_attention: mask must be {want} bool, got {tuple(mask.shape)} {mask.dtype}")
    a, b, c = parabola
    if not (a > 0 and c >= b * b / (4 * a)):
        raise ValueError(f"taylor_attention: needs a > 0 and c >= b^2 / 4a, or some are negative, got {parabola}")
    if tile is not None and tile < 1:
        raise ValueError(f"taylor_attention: a tile holds at least one token, got {tile}; None is all at once")
