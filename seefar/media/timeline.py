"""The table of all frames of a film, read from its packets without decoding any."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each frame is shown, in the order of showing; nine bytes a frame.

    Args:
        stamps: (N,) int64 presentation time stamps in ticks, rising.
        key: (N,) bool, key frames.
        entries: (K,) int64 stamps of every key packet, those of hidden frames too: where decoding can begin.
        tick: seconds in a tick.
        zero: the tick that is second 0.
        duration: second at which the last frame stops being shown.
    """

    stamps: np.ndarray
    key: np.ndarray
    entries: np.ndarray
    tick: float
    zero: float
    duration: float

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def slack(self) -> float:
        """How early a frame counts as shown: half a tick, since stamps are rounded; little where ticks are coarse."""
        return self.tick / 2 if self.tick <= 1e-3 else 1e-6

    @cached_property
    def seconds(self) -> np.ndarray:
        """(N,) float64, when each frame is shown."""
        return (self.stamps - self.zero) * self.tick

    @property
    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) first and (N,) end second of each frame's showing; the first frame also fills the time before it."""
        begins = self.seconds - self.slack
        ends = np.append(begins[1:], max(self.duration, begins[-1] + 1e-6))
        begins[0] = 0.0
        return begins, ends

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Positions of the frames shown at the given seconds."""
        return np.searchsorted(self.seconds - self.slack, seconds, side="right").clip(min=1) - 1

    @property
    def rate(self) -> float:
        """Frames a second, on average."""
        return len(self) / self.duration if self.duration > 0 else 0.0

    @property
    def variable(self) -> bool:
        """Whether the gaps between frames differ by more than rounding to ticks explains."""
        gaps = np.diff(self.stamps)
        if not len(gaps):
            return False
        return bool((gaps.max() - gaps.min()) * self.tick > max(2 * self.tick, 0.02 * np.median(gaps) * self.tick))
