"""Attention whose score can be had in two ways: pair by pair, or through sums over all keys.

B batch, N tokens, D channels, H heads, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from torch import Tensor, nn

from seefar.mixers.base import Mixer

Form = Literal["direct", "linear"]


class Score(Protocol):
    """How queries, keys and values (B, H, N, d) become outputs (B, H, N, d), two ways with one result.

    ``mask`` (B, N) is False on padding, which no query sees.
    """

    def direct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """By all pairs: time grows with N^2."""
        ...

    def linear(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """By sums over keys: time grows with N."""
        ...

    def pays(self, N: int, d: int) -> bool:
        """Whether ``linear`` takes less work."""
        ...


class TwoFormAttention(Mixer):
    """Heads of attention with an exchangeable score, in whichever of its two forms takes less work.

    y = W_o (score(W_q x, W_k x, W_v x) + local(x, W_v x))

    Every token sees all others, so it is not causal: it holds no state and refuses one.

    Args:
        score: such as ``Taylor()``, ``Holographic()`` or ``Inline()``.
        form: "direct" or "linear"; None for the one that takes less work at each length.
        local: what tokens take from their neighbours: ``local(x, v)`` for x and v (B, N, D), such as
            ``PredictedFilter``; None for nothing.
        bias: of the projections of queries, keys and values.
        out_bias: of W_o.

    Raises:
        ValueError: heads that do not divide ``dim``, an unknown form, a state, or a mask that does not fit.

    Example:
        >>> import torch
        >>> from seefar.mixers import Taylor
        >>> mixer = TwoFormAttention(8, 2, Taylor(2))
        >>> mixer(torch.randn(1, 10, 8))[0].shape
        torch.Size([1, 10, 8])
    """

    causal, bounded = False, True

    def __init__(
        self,
        dim: int,
        heads: int,
        score: Score,
        *,
        form: Form | None = None,
        local: Callable[[Tensor, Tensor], Tensor] | None = None,
        bias: bool = False,
        out_bias: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"TwoFormAttention: heads must divide dim={dim}, got {heads}")
        if form not in (None, "direct", "linear"):
            raise ValueError(f"TwoFormAttention: form must be 'direct', 'linear' or None, got {form!r}")
        self.heads, self.form = heads, form
        self.score, self.local = score, local
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim, bias=bias) for _ in range(3))
        self.o_proj = nn.Linear(dim, dim, bias=out_bias)

    def forward(self, x: Tensor, state: None = None, *, mask: Tensor | None = None) -> tuple[Tensor, None]:
        """Mix x (B, N, D); with a ``mask`` (B, N), False on padding, no token takes anything from padding.

        What ``local`` takes from its neighbours is not masked.
        """
        if state is not None:
            raise ValueError("TwoFormAttention: every token sees all, so there is no state to go on from")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"TwoFormAttention: mask must be {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
        values = self.v_proj(x)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q_proj(x), self.k_proj(x), values))
        pays = self.score.pays(x.shape[1], q.shape[-1]) if self.form is None else self.form == "linear"
        o = (self.score.linear if pays else self.score.direct)(q, k, v, mask).transpose(1, 2).flatten(2)
        return self.o_proj(o if self.local is None else o + self.local(x, values)), None
