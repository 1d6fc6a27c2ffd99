"""Tokens at some places look at tokens at others, none of them after them: attention between two lengths of a sequence.

B batch, N queries, M tokens that are looked at, D channels, H heads, d channels of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seefar.mixers.block import Block
from seefar.mixers.pattern import MLP
from seefar.positions.rope import Rope


class LookState(NamedTuple):
    """Keys (already turned by the rope) and values of all tokens that may be looked at."""

    k_BHMd: Tensor
    v_BHMd: Tensor


class Look(nn.Module):
    """Refine a rough guess at some places by what stands at others: attention, then an MLP, each added.

    u_n = norm(rough_n) + beside_n,    w_n = u_n + W_o sum_m softmax_m(q_n . k_m / sqrt(d)) v_m over place_m <= place_n

    y_n = w_n + mlp(norm(w_n))

    ``remember`` first, then look. The mask has N M entries, and what it forbids is computed all the same.

    Args:
        heads: H.
        rope: turns queries and keys by their places; None for no positions.
        ratio: hidden width of the MLP over D.

    Reference: attention resampling of Nawrot et al., arXiv 2110.13711, and its code. Differs: places by rotary
    embedding, not by relative attention; no dropout.
    """

    def __init__(self, dim: int, heads: int, *, rope: Rope | None = None, ratio: float = 4.0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"Look: heads must divide dim={dim}, got {heads}")
        if rope is not None and rope.head_dim != dim // heads:
            raise ValueError(f"Look: a head has {dim // heads} channels, got {rope}: use Rope({dim // heads})")
        self.heads, self.rope = heads, rope
        self.query_norm = nn.LayerNorm(dim)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.mlp = Block(dim, MLP(dim, ratio=ratio), mlp_ratio=0, norm=nn.LayerNorm)

    def remember(self, x: Tensor, state: LookState | None = None, *, stride: int = 1) -> LookState:
        """``state`` and x (B, M, D) behind it; the m-th token of all stands at place m * stride."""
        k, v = (self._split(project(x)) for project in (self.k_proj, self.v_proj))
        seen = 0 if state is None else state.k_BHMd.shape[2]
        if self.rope is not None:
            k = self.rope(k, stride * torch.arange(seen, seen + x.shape[1], device=x.device))
        if state is None:
            return LookState(k, v)
        return LookState(torch.cat([state.k_BHMd, k], 2), torch.cat([state.v_BHMd, v], 2))

    def forward(
        self, rough: Tensor, places: Tensor, state: LookState, *, stride: int = 1, beside: Tensor | None = None
    ) -> Tensor:
        """Refine rough (B, N, D) at ``places`` (N,), none negative; ``beside`` (B, N, D) is added to it once normed."""
        u = self.query_norm(rough)
        u = u if beside is None else u + beside
        q = self._split(self.q_proj(u))
        q = q if self.rope is None else self.rope(q, places)
        seen = places[:, None] >= stride * torch.arange(state.k_BHMd.shape[2], device=places.device)
        found = scaled_dot_product_attention(q, state.k_BHMd, state.v_BHMd, attn_mask=seen)
        refined: Tensor = self.mlp(u + self.o_proj(found.transpose(1, 2).flatten(2)))[0]
        return refined

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
