"""Attention to initial states: every layer looks at what entered the first one, so one cache serves them all.

B batch, N tokens, M tokens up to now, D channels, H heads, K key-value heads, d channels of a head, n queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.pattern import MLP, spelled
from seefar.ops.attention import attention
from seefar.positions.rope import Rope

Form = Literal["projected", "absorbed"]


class InitialAttention(nn.Module):
    """Each token takes a mean of what the initial states of itself and of those before it hold.

    y_n = W_o sum_{m <= n} softmax_m(W_q x_n . W_k c_m / sqrt(d)) W_v c_m

    with x the states of this layer and c the initial ones. Two forms give the same:

    - projected: keys W_k c and values W_v c are made for all M tokens, 4 M D K d operations a call, and used once;
    - absorbed: (W_k^T W_q x_n) . c_m, and W_v after the mean of the c_m, so that nothing but c is as long as the text.

    Absorbed is for few queries: its products are D wide instead of d, 4 n M H D operations. A rope stands between
    W_k and the query, so with one there is the projected form alone. Weights are named and shaped as in
    transformers' ``LlamaAttention``.

    Args:
        kv_heads: heads of keys and values, each shared by heads / kv_heads queries; None for ``heads``.
        rope: turns queries and keys by their places; None for no positions.
        form: None for the one of fewer operations.

    Raises:
        ValueError: heads that don't divide; the absorbed form with a rope; in a call no initial states, or fewer than
            tokens.

    Reference: Eisner, InAttention, arXiv 2410.07063; the absorbed form: DeepSeek-V2, arXiv 2405.04434.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        rope: Rope | None = None,
        bias: bool = False,
        form: Form | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or dim % heads:
            raise ValueError(f"InitialAttention: heads must divide dim={dim}, got {heads}")
        if kv_heads < 1 or heads % kv_heads:
            raise ValueError(f"InitialAttention: kv_heads must divide heads={heads}, got {kv_heads}")
        if rope is not None and rope.head_dim != dim // heads:
            raise ValueError(f"InitialAttention: a head has {dim // heads} channels, got {rope}")
        if form not in (None, "projected", "absorbed"):
            raise ValueError(f"InitialAttention: form is 'projected', 'absorbed' or None, got {form!r}")
        if form == "absorbed" and rope is not None:
            raise ValueError("InitialAttention: a rope turns keys after W_k, which can't be absorbed; leave one out")
        self.causal, self.bounded = True, False
        self.heads, self.kv_heads, self.rope, self.form = heads, kv_heads, rope, form
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim // heads * kv_heads, bias=bias)
        self.v_proj = nn.Linear(dim, dim // heads * kv_heads, bias=bias)
        self.o_proj = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, initial: Tensor | None = None) -> Tensor:
        """(B, N, D) of the states x (B, N, D) of the last N tokens over the initial states (B, M, D) of all of them."""
        if not isinstance(initial, Tensor):
            raise ValueError(
                "InitialAttention: a layer needs the initial states beside its own; put it into an InitialStack, such "
                "as initial_column('(A F)*2', ...)"
            )
        if initial.shape[1] < x.shape[1] or len(initial) != len(x):
            raise ValueError(
                f"InitialAttention: initial states {tuple(initial.shape)} must hold every token of x {tuple(x.shape)}"
            )
        q_BHNd = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        form = self.form or self._cheaper(x.shape[1])
        y_BHNd = (self._absorbed if form == "absorbed" else self._projected)(q_BHNd, initial)
        return self.o_proj(y_BHNd.transpose(1, 2).flatten(2))

    def _cheaper(self, queries: int) -> Form:
        # per initial state: 4 n H D operations absorbed, against 4 D K d for projecting it and 4 n D for its products
        few = queries * (self.heads - 1) <= self.k_proj.out_features
        return "absorbed" if self.rope is None and few else "projected"

    def _projected(self, q_BHNd: Tensor, c_BMD: Tensor) -> Tensor:
        N, M = q_BHNd.shape[2], c_BMD.shape[1]
        k_BKMd, v_BKMd = (
            proj(c_BMD).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for proj in (self.k_proj, self.v_proj)
        )
        if self.rope is not None:
            places_M = torch.arange(M, device=c_BMD.device)
            q_BHNd, k_BKMd = self.rope(q_BHNd, places_M[M - N :]), self.rope(k_BKMd, places_M)
        return attention(q_BHNd, k_BKMd, v_BKMd, causal=True)

    def _absorbed(self, q_BHNd: Tensor, c_BMD: Tensor) -> Tensor:
        shared = self.heads // self.kv_heads
        W_k_HdD, W_v_HdD = (
            proj.weight.unflatten(0, (self.kv_heads, -1)).repeat_interleave(shared, 0)
            for proj in (self.k_proj, self.v_proj)
        )
        c_B1MD = c_BMD[:, None]
        # a bias of the keys adds the same to all scores of a query, which softmax does not see
        mean_BHND = attention(q_BHNd @ W_k_HdD, c_B1MD, c_B1MD, causal=True, scale=q_BHNd.shape[-1] ** -0.5)
        y_BHNd = mean_BHND @ W_v_HdD.mT
        if self.v_proj.bias is None:
            return y_BHNd
        return y_BHNd + self.v_proj.bias.unflatten(0, (self.kv_heads, 1, -1)).repeat_interleave(shared, 0)


class InitialState(NamedTuple):
    """What entered the stack for every token so far, once for all layers; and the states of its other mixers."""

    c_BMD: Tensor
    others: tuple[Any, ...]


class InitialStack(Mixer):
    """Pre-norm residual layers, of which those that attend see what entered the first layer, not each other's outputs.

    h^0 = x,    h^{l+1} = h^l + layer_l(norm_l(h^l), norm_l(h^0)) for ``InitialAttention``,
    h^{l+1} = h^l + layer_l(norm_l(h^l)) for other mixers

    No token needs what another one became in any layer. So the state is one vector of D a token, where keys and
    values of all layers would be 2 D for each of them; and of a prompt all tokens but the last need no pass at all,
    see ``remember``. The first layer is ordinary self-attention. Training costs what it costs with self-attention.

    Args:
        dim: D.
        layers: ``InitialAttention`` and mixers, in order; mixers that hold states are carried along.
        norm: makes the norms from D; RMSNorm with eps 1e-5 when left out.

    Raises:
        ValueError: no layer, or one that is not causal; in a call a state of other streams, another width or another
            number of layers.

    Reference: Eisner, InAttention, arXiv 2410.07063.
    """

    causal, bounded = True, False

    def __init__(
        self,
        dim: int,
        layers: Sequence[InitialAttention | Mixer],
        *,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("InitialStack: needs at least one layer, got none")
        if late := [i for i, layer in enumerate(layers) if not layer.causal]:
            raise ValueError(f"InitialStack: layers {late} are not causal; every token's past must be final")
        make_norm = norm or partial(nn.RMSNorm, eps=1e-5)
        self.norms = nn.ModuleList([make_norm(dim) for _ in layers])
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, state: InitialState | None = None) -> tuple[Tensor, InitialState]:
        """Mix x (B, N, D), going on from ``state``."""
        c_BMD, others = self._with(x, state), iter(() if state is None else state.others)
        ends = []
        for norm, layer in zip(self.norms, self.layers, strict=True):
            if isinstance(layer, InitialAttention):
                x = x + layer(norm(x), norm(c_BMD))
                continue
            mixed, end = layer(norm(x), next(others, None))
            x = x + mixed
            ends.append(end)
        return x, InitialState(c_BMD, tuple(ends))

    def remember(self, x: Tensor, state: InitialState | None = None) -> InitialState:
        """The state after x (B, N, D) without its outputs: no layer runs.

        Raises:
            ValueError: a mixer other than an MLP is among the layers, whose state only a pass can give.
        """
        held = [i for i, layer in enumerate(self.layers) if not isinstance(layer, InitialAttention | MLP)]
        if held:
            raise ValueError(f"InitialStack: layers {held} hold states of their own; call the stack to get them")
        others = sum(isinstance(layer, MLP) for layer in self.layers)
        return InitialState(self._with(x, state), ((),) * others)

    def _with(self, x: Tensor, state: InitialState | None) -> Tensor:
        if state is None:
            return x
        if not isinstance(state, InitialState):
            raise ValueError(
                f"InitialStack: goes on from its own InitialState, got {type(state).__name__}; keys and values of a "
                "cache can't be turned back into initial states"
            )
        others = sum(not isinstance(layer, InitialAttention) for layer in self.layers)
        before = state.c_BMD
        if len(before) != len(x) or before.shape[2] != x.shape[2] or len(state.others) != others:
            raise ValueError(
                f"InitialStack: the state holds {tuple(before.shape)} and {len(state.others)} states of other layers, "
                f"x is {tuple(x.shape)} with {others}; a state serves the embeddings and the stack that it came from"
            )
        return torch.cat([before, x], 1)


def initial_column(
    pattern: str,
    dim: int,
    *,
    norm: Callable[[int], nn.Module] | None = None,
    **makers: Callable[[], InitialAttention | Mixer],
) -> InitialStack:
    """An ``InitialStack``, one layer for each letter of ``pattern``; see ``column`` for patterns and makers.

    Raises:
        ValueError: a letter without a maker, or brackets that do not match.

    Example:
        >>> stack = initial_column("(A F)*2", 32, A=lambda: InitialAttention(32, 4))
        >>> y, state = stack(torch.randn(1, 10, 32))
        >>> y.shape, state.c_BMD.shape
        (torch.Size([1, 10, 32]), torch.Size([1, 10, 32]))
    """
    makers = {"F": lambda: MLP(dim), **makers}
    letters = spelled(pattern)
    if unknown := sorted(set(letters) - set(makers)):
        raise ValueError(
            f"initial_column: {pattern!r} has no maker for {', '.join(unknown)}; pass {unknown[0]}=lambda: ..."
        )
    return InitialStack(dim, [makers[letter]() for letter in letters], norm=norm)
