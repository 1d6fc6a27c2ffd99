"""Mega's gated block: a memory decides what to look for, attention looks, and a gate decides what to keep.

B batch, N tokens, D channels, Z width of queries and keys, E width of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer


class GatedState(NamedTuple):
    """The states of the memory and of the attention."""

    memory: Any
    attention: Any


class GatedAttention(Protocol):
    """What ``GatedMixer`` asks of its attention: ``(o, state) = attention(q, k, v, state, mask=mask)``."""

    causal: bool
    bounded: bool

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, state: Any = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]: ...


class GatedMixer(Mixer):
    """Queries and keys come from a memory of the sequence, values from its tokens, and what is found passes two gates.

    With n = norm(x) and m = silu(memory(n)):

        u, z, r, g = sigmoid, silu, silu, none of W_m m,    v = silu(W_v n),    q, k = gamma z + beta
        h = silu(g + W_h (r * attention(q, k, v))),         y = x + u * (h - x)

    Norm and residual path are inside: it stands in a ``Stack`` by itself, without a ``Block`` around it.

    Args:
        memory: a mixer of D channels, such as ``EMA``; None for none.
        attention: such as ``ScoredAttention``; causal exactly if the memory is.
        width: Z.
        values: E, 2 D when left out.
        norm: makes the norm from D; LayerNorm when left out.

    Reference: Ma et al., Mega, arXiv 2209.10655. Differs: weights of linear layers begin as ``nn.Linear`` makes them,
    not with a deviation of 0.02, which is meant for D of 512; no dropout.
    """

    def __init__(
        self,
        dim: int,
        *,
        memory: Mixer | None,
        attention: GatedAttention,
        width: int = 64,
        values: int | None = None,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        values = 2 * dim if values is None else values
        if width < 1 or values < 1:
            raise ValueError(f"GatedMixer: widths must be positive, got {width=}, {values=}")
        if memory is not None and memory.causal != attention.causal:
            reads = {True: "is causal", False: "reads both directions"}
            raise ValueError(
                f"GatedMixer: the memory {reads[memory.causal]} but the attention {reads[attention.causal]}; make both "
                "causal, or neither"
            )
        self.causal = attention.causal
        self.bounded = attention.bounded and (memory is None or memory.bounded)
        self.sizes = [dim, width, values, dim]
        self.norm = norm(dim)
        self.memory, self.attention = memory, attention
        self.v_proj = nn.Linear(dim, values)
        self.m_proj = nn.Linear(dim, sum(self.sizes))
        self.h_proj = nn.Linear(values, dim)
        self.gamma = nn.Parameter(0.02 * torch.randn(2, width))
        self.beta = nn.Parameter(torch.zeros(2, width))

    def forward(
        self, x: Tensor, state: GatedState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, GatedState | None]:
        """Mix x (B, N, D), going on from ``state``; with a ``mask`` (B, N), False on padding, it is mixed whole."""
        if state is not None and (not self.causal or mask is not None):
            why = "it has a mask" if self.causal else "it reads both directions"
            raise ValueError(f"GatedMixer: {why}, so there is no state to go on from; leave it out")
        inner = self.norm(x)
        if mask is not None:
            inner = inner * mask[..., None]
        moved, memory_end = inner, None
        if self.memory is not None:
            moved, memory_end = self.memory(inner, None if state is None else state.memory)
        u, z, r, g = self.m_proj(F.silu(moved)).split(self.sizes, -1)
        q, k = (F.silu(z)[..., None, :] * self.gamma + self.beta).unbind(-2)
        found, attention_end = self.attention(
            q, k, F.silu(self.v_proj(inner)), None if state is None else state.attention, mask=mask
        )
        h = F.silu(g + self.h_proj(F.silu(r) * found))
        y = x + u.sigmoid() * (h - x)
        return y, GatedState(memory_end, attention_end) if self.causal and mask is None else None
