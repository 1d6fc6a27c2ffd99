"""The one contract of everything that makes fewer tokens of many."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from seefar.sequence import VisualSequence


class Compressor(nn.Module):
    """``compress(seq, budget, query=None)`` gives at most ``budget`` tokens a row, provenance kept; no state.

    The query, where a compressor uses one, is (B, Q, D) text features in the space of the tokens, or (B, D).
    ``testing.check_compressor`` is the contract.
    """

    @abstractmethod
    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens in each row of ``seq``."""


def check_budget(who: str, budget: int) -> int:
    """The budget itself, or a ValueError that says what a budget is."""
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise ValueError(f"{who}: budget must be a positive number of tokens (an int), got {budget!r}")
    return budget
