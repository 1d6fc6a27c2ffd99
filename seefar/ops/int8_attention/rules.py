"""How attention with whole numbers is told to run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rounded:
    """Levels and groups.

    Args:
        causal: query i, which stands at key M - N + i, sees no key after it.
        scale: of the scores.
        weights: levels of a weight of one.
        values: levels of the largest value of a channel.
        queries: that share a scale. keys: that share one.
    """

    causal: bool
    scale: float
    weights: int
    values: int
    queries: int = 128
    keys: int = 128
