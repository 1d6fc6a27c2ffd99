"""The one contract of every token mixer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn


class Mixer(nn.Module):
    """Mixes tokens along N: ``(y, state) = mixer(x, state)``, both (B, N, D), like ``nn.GRU``.

    A causal mixer gives the same outputs, gradients and final state for a whole sequence, for any split of it into
    chunks with the state carried over, and for one token at a time; ``testing.check_streaming`` is that law. A mixer
    that is not causal returns None as its state and refuses one.

    Attributes:
        causal: output n depends on tokens up to n alone, so the mixer may be streamed.
        bounded: the state does not grow with the number of tokens seen.
    """

    causal: bool
    bounded: bool

    @abstractmethod
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Mix x (B, N, D), going on from ``state``; gives the outputs (B, N, D) and the state after the last token."""
