"""One query beside its cache on the CPU: keys and values are read where they are, by a kernel that numba compiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seefar.ops._cpu import needs_numba, spread


def cannot_run(q: Tensor, *others: Tensor) -> str | None:
    """Needs numba, the CPU, float32 or float64, one query, and no gradient."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, *others)):
        return "has no gradients; call it under torch.no_grad()"
    if q.shape[2] != 1:
        return f"needs a single query, got {q.shape[2]}"
    return needs_numba(q)


def run(q: Tensor, k: Tensor, v: Tensor, blocks: Tensor, width: int, causal: bool, scale: float) -> Tensor:
    """Each head is a piece. The one query stands at the last key, so that causality forbids nothing."""
    from seefar.ops.picked_attention import _kernels

    (B, H, _, d), Hkv = q.shape, k.shape[1]
    o = q.new_empty(B * H, v.shape[-1])
    queries, picked, out = q.detach().reshape(-1, d).numpy(), blocks.reshape(B * H, -1).numpy(), o.numpy()
    # head by head, so that of the beginning of a longer cache nothing is copied
    keys, values = ([head.contiguous().numpy() for row in x.detach() for head in row] for x in (k, v))
    attend: Any = _kernels.attend

    def piece(i: int) -> None:
        attend(queries[i], keys[i // (H // Hkv)], values[i // (H // Hkv)], picked[i], width, scale, out[i])

    spread(piece, B * H, work=B * H * picked.shape[1] * width * (d + v.shape[-1]))
    return o.view(B, H, 1, -1)
