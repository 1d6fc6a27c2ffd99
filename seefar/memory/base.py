"""The one contract of every bounded store over an endless stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from seefar.sequence import VisualSequence


class Memory(ABC):
    """``write`` what is seen, ``read`` at most ``budget`` tokens of it; never holds more than ``capacity`` a row.

    ``save`` and ``load`` (safetensors) give back a memory that reads and goes on exactly as the saved one would.
    One memory serves one stream: ``reset`` before the next. ``testing.check_memory`` is the contract.
    """

    capacity: int

    @abstractmethod
    def write(self, seq: VisualSequence) -> None:
        """Take in the next piece of the stream; its first second may not lie before the last one written."""

    @abstractmethod
    def read(self, budget: int, query: Tensor | None = None) -> VisualSequence:
        """At most ``budget`` tokens a row of what was written, in time order."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything, ready for another stream."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write the whole state to one safetensors file."""

    @abstractmethod
    def load(self, path: str | Path) -> None:
        """Take up the state that ``save`` wrote; a ValueError if the file is of another kind or capacity."""
