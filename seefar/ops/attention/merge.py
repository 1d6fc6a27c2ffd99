"""Joining attention over parts of the keys into attention over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def merge_attention(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """What attention over all keys gives, from what it gave over each share of them.

    lse = log sum_p exp(lse_p),    o = sum_p exp(lse_p - lse) o_p. Exact for any split, in any order, so a result can be
    merged again. A query that saw no key in any part keeps its zeros and its -inf.

    Args:
        parts: (o, lse) as ``attention(..., return_lse=True)`` gives them for the same queries; o (..., N, dv), lse
            (..., N).

    Returns:
        o in the dtype it came in, and lse; sums run in float32 or wider.

    Raises:
        ValueError: no parts, or shapes that differ.

    Example:
        >>> import torch
        >>> from seefar.ops.attention import attention
        >>> q, k, v = torch.randn(3, 1, 2, 10, 4).double()
        >>> parts = [attention(q, k[:, :, at], v[:, :, at], return_lse=True) for at in (slice(0, 3), slice(3, 10))]
        >>> torch.allclose(merge_attention(parts)[0], attention(q, k, v))
        True

    Reference: Milakov and Gimelshein, arXiv 1805.02867; Dao et al., FlashAttention, arXiv 2205.14135, section 3.1.
    """
    if not parts:
        raise ValueError("merge_attention: needs at least one (o, lse), got none")
    shapes = [(tuple(o.shape), tuple(lse.shape)) for o, lse in parts]
    if len(set(shapes)) > 1 or shapes[0][0][:-1] != shapes[0][1]:
        raise ValueError(
            f"merge_attention: needs o (..., N, dv) with lse (..., N), alike in all parts, got {shapes}; "
            "ask attention for them with return_lse=True"
        )
    exact = torch.promote_types(parts[0][1].dtype, torch.float32)
    logs = torch.stack([lse.to(exact) for _, lse in parts])
    top = logs.detach().amax(0)
    top = top.masked_fill(top == -torch.inf, 0)
    weights = (logs - top).exp()
    total = weights.sum(0)
    empty = total == 0
    total = total.masked_fill(empty, 1)  # neither log nor quotient may see a zero, or gradients turn into NaN
    shares = weights / total
    o = sum(
        (share[..., None] * o.to(exact) for share, (o, _) in zip(shares[1:], parts[1:], strict=True)),
        shares[0][..., None] * parts[0][0].to(exact),
    )
    lse = (top + total.log()).masked_fill(empty, -torch.inf)
    return o.to(parts[0][0].dtype), lse.to(parts[0][1].dtype)
