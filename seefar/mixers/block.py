"""Blocks: a mixer with its norm, its residual path and an MLP, and a stack of them; both are mixers themselves.

B batch, N tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from seefar.mixers.base import Mixer


class Block(Mixer):
    """Mix along tokens, then along channels, each added to what came in.

    x <- x + mixer(norm(x)),    x <- x + W_2 gelu(W_1 norm(x)),    norm = RMSNorm with eps 1e-5 by default

    The state is the mixer's own; ``causal`` and ``bounded`` too. ``segments`` (B, N) go to the mixer, which must know
    them, as ``Attention`` does: then pictures packed into one row do not meet.

    Args:
        mlp_ratio: width of the MLP over ``dim``; 0 leaves the MLP out, as Mamba's blocks do.
        norm: makes both norms from ``dim``, such as ``nn.LayerNorm``.

    Reference: Xiong et al., pre-norm, arXiv 2002.04745; Zhang and Sennrich, RMSNorm, arXiv 1910.07467.
    """

    def __init__(
        self, dim: int, mixer: Mixer, *, mlp_ratio: float = 4.0, norm: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        if mlp_ratio < 0:
            raise ValueError(f"Block: mlp_ratio must not be negative, got {mlp_ratio}")
        self.causal, self.bounded = mixer.causal, mixer.bounded
        make_norm = norm or partial(nn.RMSNorm, eps=1e-5)
        self.norm = make_norm(dim)
        self.mixer = mixer
        hidden = round(dim * mlp_ratio)
        self.mlp: nn.Sequential | None = None
        if hidden:
            self.mlp = nn.Sequential(make_norm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor, state: Any = None, *, segments: Tensor | None = None) -> tuple[Tensor, Any]:
        """Mix x (B, N, D), going on from the mixer's ``state``."""
        packed = {} if segments is None else {"segments": segments}
        mixed, state = self.mixer(self.norm(x), state, **packed)
        x = x + mixed
        if self.mlp is not None:
            x = x + self.mlp(x)
        return x, state


class Stack(Mixer):
    """Mixers one after another; the state is the tuple of theirs.

    Causal, or bounded, if all of them are. One that is not causal makes the whole stack refuse a state. ``segments``
    go to every one of them.
    """

    def __init__(self, blocks: Sequence[Mixer]) -> None:
        super().__init__()
        if not blocks:
            raise ValueError("Stack: needs at least one mixer, got none")
        self.causal = all(block.causal for block in blocks)
        self.bounded = all(block.bounded for block in blocks)
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, x: Tensor, state: tuple[Any, ...] | None = None, *, segments: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...] | None]:
        """Mix x (B, N, D), going on from the ``state`` of every block."""
        if state is not None and not self.causal:
            which = [i for i, block in enumerate(self.blocks) if not block.causal]
            raise ValueError(f"Stack: mixers {which} are not causal, so there is no state to go on from")
        if state is not None and len(state) != len(self.blocks):
            raise ValueError(f"Stack: {len(self.blocks)} mixers need as many states, got {len(state)}")
        packed = {} if segments is None else {"segments": segments}
        ends = []
        for block, past in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            x, end = block(x, past, **packed)
            ends.append(end)
        return x, tuple(ends) if self.causal else None
