"""Softmax attention: every token looks at all earlier ones, or at a window of them.

B batch, N tokens, D channels, H heads, K key-value heads, M keys at hand, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.attention import attention
from seefar.positions.rope import Rope


class AttentionState(NamedTuple):
    """Keys (already turned by the rope) and values of the tokens that later ones may see, and how many have passed.

    With a window there are always window - 1 slots; while fewer tokens have passed, the first ones are empty.
    """

    k_BKMd: Tensor
    v_BKMd: Tensor
    seen: int


class Attention(Mixer):
    """Each token takes a mean of the values, weighted by how well its query meets their keys.

    y_n = W_o sum_m softmax_m(q_n . k_m / sqrt(d)) v_m,    m <= n if causal,    m > n - window if windowed

    ``bounded`` is True with a window: the state then has room for the last window - 1 keys alone. Weights are
    named and shaped as in transformers' ``LlamaAttention``, whose state dict loads as it is.

    Args:
        kv_heads: heads of keys and values, each shared by heads / kv_heads queries (arXiv 2305.13245); None for
            ``heads``.
        causal: False lets every token see all; such a mixer holds no state and refuses one.
        window: a token sees itself and the window - 1 tokens before it (arXiv 2310.06825), and as many after it if not
            causal; None for all of them.
        rope: turns queries and keys; positions count on from the state. None for no positions.
        backend: of ``ops.attention``; None for the fastest that can run.
        qk_norm: makes a norm of the queries and one of the keys from the width d of a head, applied before the rope;
            it bounds the logits. ``nn.RMSNorm`` as in Qwen3, whose weights then load too; None for no norms.

    Reference: Vaswani et al., arXiv 1706.03762; norms of queries and keys: Dehghani et al., ViT-22B, arXiv 2302.05442.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        causal: bool = True,
        window: int | None = None,
        rope: Rope | None = None,
        bias: bool = False,
        backend: str | None = None,
        qk_norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or dim % heads:
            raise ValueError(f"Attention: heads must divide dim={dim}, got {heads}")
        if kv_heads < 1 or heads % kv_heads:
            raise ValueError(f"Attention: kv_heads must divide heads={heads}, got {kv_heads}")
        if window is not None and window < 1:
            raise ValueError(f"Attention: a window holds at least the token itself, got {window=}")
        if rope is not None and rope.head_dim != dim // heads:
            raise ValueError(f"Attention: a head has {dim // heads} channels, got {rope}: use Rope({dim // heads})")
        self.causal, self.bounded = causal, window is not None
        self.heads, self.kv_heads, self.window, self.rope, self.backend = heads, kv_heads, window, rope, backend
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim // heads * kv_heads, bias=bias)
        self.v_proj = nn.Linear(dim, dim // heads * kv_heads, bias=bias)
        self.o_proj = nn.Linear(dim, dim, bias=bias)
        self.q_norm, self.k_norm = (nn.Identity() if qk_norm is None else qk_norm(dim // heads) for _ in range(2))

    def forward(
        self, x: Tensor, state: AttentionState | None = None, *, segments: Tensor | None = None
    ) -> tuple[Tensor, AttentionState | None]:
        """Mix x (B, N, D), going on from ``state``; the new state is None if not causal, or if the row is packed.

        Args:
            x: (B, N, D).
            state: of the tokens before.
            segments: (B, N) int64, what each token of a packed row belongs to; only equal ones meet.
        """
        if state is not None and not self.causal:
            raise ValueError("Attention: with causal=False every token sees all, so there is no state to go on from")
        if state is not None and segments is not None:
            raise ValueError("Attention: a packed row is mixed whole; leave out the state, or the segments")
        N = x.shape[1]
        seen = 0 if state is None else state.seen
        q_BHNd = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BKMd, v_BKMd = (
            proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for proj in (self.k_proj, self.v_proj)
        )
        q_BHNd, k_BKMd = self.q_norm(q_BHNd), self.k_norm(k_BKMd)
        if self.rope is not None:
            positions = torch.arange(seen, seen + N, device=x.device)
            q_BHNd, k_BKMd = self.rope(q_BHNd, positions), self.rope(k_BKMd, positions)
        if state is not None:
            empty = max(0, state.k_BKMd.shape[2] - seen)
            k_BKMd = torch.cat([state.k_BKMd[:, :, empty:], k_BKMd], 2)
            v_BKMd = torch.cat([state.v_BKMd[:, :, empty:], v_BKMd], 2)
        y_BHNd = attention(
            q_BHNd, k_BKMd, v_BKMd, causal=self.causal, window=self.window, segments=segments, backend=self.backend
        )
        y = self.o_proj(y_BHNd.transpose(1, 2).flatten(2))
        if not self.causal or segments is not None:
            return y, None
        return y, AttentionState(self._kept(k_BKMd), self._kept(v_BKMd), seen + N)

    def _kept(self, past_BKMd: Tensor) -> Tensor:
        if self.window is None:
            return past_BKMd
        surplus = past_BKMd.shape[2] - (self.window - 1)
        if surplus < 0:
            return F.pad(past_BKMd, (0, 0, -surplus, 0))
        # a copy: a view would keep the whole chunk in memory
        return past_BKMd[:, :, surplus:].clone()
