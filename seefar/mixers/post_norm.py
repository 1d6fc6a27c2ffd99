"""A mixer with its residual path and a norm behind both; ``Block`` has its norm in front."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seefar.mixers.base import Mixer


class PostNorm(Mixer):
    """x <- norm(x + mixer(x)), norm = LayerNorm over the channels, the last axis; the state is the mixer's own.

    Reference: Vaswani et al., arXiv 1706.03762.
    """

    def __init__(self, dim: int, mixer: Mixer) -> None:
        super().__init__()
        self.causal, self.bounded = mixer.causal, mixer.bounded
        self.mixer = mixer
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Mix x (B, N, ..., D), going on from the mixer's ``state``."""
        mixed, end = self.mixer(x, state)
        return self.norm(x + mixed), end
