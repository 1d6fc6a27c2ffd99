"""Truncated back-propagation through time: the same outputs, but gradients that reach back a few tokens only.

B batch, N tokens, D channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seefar.mixers.base import Mixer


class TruncatedState(NamedTuple):
    """The state of the mixer, and the tokens read since its gradient was last cut."""

    inner: Any
    since: int


class Truncated(Mixer):
    """Cut the gradient of the state after every ``tokens`` tokens; what is computed stays as it is.

    y_t = mixer(x)_t,    d state_{k tokens} / d state_{k tokens - 1} := 0

    The cuts are counted from the first token of the stream, wherever chunks begin.

    Args:
        mixer: causal.
        tokens: between cuts; more than there are cut nothing.

    Raises:
        ValueError: the mixer is not causal, or no token between cuts.

    Reference: Williams and Peng 1990; in Lipton et al., arXiv 1506.00019.
    """

    def __init__(self, mixer: Mixer, tokens: int) -> None:
        super().__init__()
        if not mixer.causal:
            raise ValueError(f"Truncated: {type(mixer).__name__} is not causal, so it has no state to cut")
        if tokens < 1:
            raise ValueError(f"Truncated: cuts need at least one token between them, got {tokens}")
        self.causal, self.bounded = True, mixer.bounded
        self.mixer, self.tokens = mixer, tokens

    def forward(self, x: Tensor, state: TruncatedState | None = None) -> tuple[Tensor, TruncatedState]:
        """Mix x (B, N, D), going on from ``state``."""
        inner, since = (None, 0) if state is None else state
        outs = []
        while x.shape[1]:
            if since == self.tokens:
                inner, since = tree_map(_cut, inner), 0
            piece, x = x.tensor_split([self.tokens - since], 1)
            y, inner = self.mixer(piece, inner)
            since += piece.shape[1]
            outs.append(y)
        return torch.cat(outs, 1), TruncatedState(inner, since)


def _cut(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf
