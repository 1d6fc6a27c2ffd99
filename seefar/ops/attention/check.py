"""What every attention asks of its queries, keys and values."""

from __future__ import annotations

from torch import Tensor


def check_heads(who: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse, in the name of ``who``, what is not q (B, H, N, d), k (B, Hkv, M, d), v (B, Hkv, M, dv) of one kind.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit each other.
    """
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ValueError(f"{who}: q, k and v must be (B, heads, tokens, width), got {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or k.shape[:3] != v.shape[:3]:
        raise ValueError(f"{who}: needs q (B, H, N, d), k (B, Hkv, M, d), v (B, Hkv, M, dv), got {shapes}")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"{who}: {q.shape[1]} query heads cannot share {k.shape[1]} key heads evenly")
    if len({(t.dtype, t.device) for t in (q, k, v)}) > 1:
        kinds = ", ".join(f"{name} {t.dtype} on {t.device}" for name, t in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"{who}: q, k and v must have one dtype and device, got {kinds}; call .to(q)")
    if not q.is_floating_point():
        raise ValueError(f"{who}: q, k and v must be floating, got {q.dtype}; call .float() on them")
