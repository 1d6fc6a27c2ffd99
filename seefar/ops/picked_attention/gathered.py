"""Picked keys and values side by side, then PyTorch's attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def cannot_run(q: Tensor, *_: Tensor) -> str | None:
    """Needs a floating dtype."""
    return None if q.is_floating_point() else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, v: Tensor, blocks: Tensor, width: int, causal: bool, scale: float) -> Tensor:
    """Only what is picked is read; the rest of the cache is not copied, whatever its length."""
    (B, H, N, _), (Hkv, M) = q.shape, k.shape[1:3]
    places = (blocks[..., None] * width + torch.arange(width, device=q.device)).flatten(2)
    seen = ((places >= 0) & (places < M))[:, :, None]
    if causal:
        seen = seen & (places[:, :, None] <= torch.arange(M - N, M, device=q.device)[:, None])
    seen = seen.expand(-1, -1, N, -1)
    head = torch.arange(B, device=q.device)[:, None] * Hkv + torch.arange(H, device=q.device) // (H // Hkv)
    rows = (places.clamp(0, M - 1) + head[..., None] * M).flatten()
    keys, values = (x.reshape(-1, x.shape[-1]).index_select(0, rows).view(B, H, -1, x.shape[-1]) for x in (k, v))
    nothing = ~seen.any(-1, keepdim=True)
    o = scaled_dot_product_attention(q, keys, values, attn_mask=seen | nothing, scale=scale)
    return o.masked_fill(nothing, 0)
