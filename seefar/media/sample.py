"""Which frames to take: by rate, by count, at given times, or the key frames.

A frame is shown from its own time stamp until that of the next frame; "the frame shown at t" is the last one whose time
stamp is not after t, or the first frame where t is before all of them. Time stamps come rounded to the ticks of the
container, so a frame counts as shown up to half a tick early, at most half a millisecond.

A sampling chooses from the table of all frames where there is one, and frame by frame where there is none (a pipe);
both give the same frames.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from seefar.media.errors import MediaError
from seefar.media.timeline import Timeline

# (second of a frame, second at which the next one is shown, is it a key frame) -> how many times the frame is wanted
Picker = Callable[[float, float, bool], int]


class Sampling(Protocol):
    """What `Video.read` asks of a sampling."""

    @property
    def repeats(self) -> bool:
        """Whether the same frame may come twice in a row."""

    def check(self, duration: float) -> None:
        """Complains where a film of that many seconds cannot give what is asked."""

    def choose(self, timeline: Timeline) -> np.ndarray:
        """(K,) int64 positions in the timeline, never falling."""

    def picker(self) -> Picker:
        """The same choice made frame by frame in order, without knowing what follows."""


@dataclass(frozen=True)
class Fps:
    """The frame shown at time k / rate for k = 0, 1, 2, ... until the film ends, no frame twice.

    A rate above the film's own gives every frame once; nothing is invented or repeated.

    Args:
        rate: frames a second, may be below one: ``Fps(1 / 60)`` is a frame a minute.
    """

    rate: float
    repeats: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"Fps: the rate must be positive frames a second, got {self.rate}: for example Fps(1)")

    def check(self, duration: float) -> None:
        pass

    def choose(self, timeline: Timeline) -> np.ndarray:
        begins, ends = timeline.shown
        first_k = np.ceil(begins * self.rate - 1e-9 * self.rate)
        return np.flatnonzero(first_k / self.rate < ends - 1e-9)

    def picker(self) -> Picker:
        def pick(begin: float, end: float, key: bool) -> int:
            return int(math.ceil(begin * self.rate - 1e-9 * self.rate) / self.rate < end - 1e-9)

        return pick


@dataclass(frozen=True)
class Uniform:
    """The frames shown at the middles of ``count`` equal parts of the film: at (k + 1/2) / count of its duration.

    A film with fewer frames than that gives all of its frames. No frame comes twice, so a film of variable rate, in
    which one picture may stand through several parts, can give fewer.

    Args:
        count: how many frames.
    """

    count: int
    repeats: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.count != int(self.count):
            raise ValueError(
                f"Uniform: count must be a whole number from 1 on, got {self.count}: for example Uniform(64)"
            )

    def check(self, duration: float) -> None:
        pass

    def choose(self, timeline: Timeline) -> np.ndarray:
        if self.count >= len(timeline):
            return np.arange(len(timeline))
        middles = (np.arange(self.count) + 0.5) * (timeline.duration / self.count)
        return np.unique(timeline.at(middles))

    def picker(self) -> Picker:
        raise MediaError(
            "Uniform needs the length of the film, which a pipe does not tell: save it to a file, or sample with Fps"
        )


@dataclass(frozen=True)
class Keyframes:
    """Every key frame: the frames that decode without any other, cheap to reach and often at cuts."""

    repeats: ClassVar[bool] = False

    def check(self, duration: float) -> None:
        pass

    def choose(self, timeline: Timeline) -> np.ndarray:
        return np.flatnonzero(timeline.key)

    def picker(self) -> Picker:
        return lambda begin, end, key: int(key)


@dataclass(frozen=True)
class Times:
    """The frame shown at each of the given seconds, one for each: the same frame again where two times ask for it.

    Args:
        seconds: rising, from 0 to the duration of the film.
    """

    seconds: tuple[float, ...]
    repeats: ClassVar[bool] = True

    def __init__(self, seconds: Iterable[float]) -> None:
        given = tuple(float(second) for second in seconds)
        object.__setattr__(self, "seconds", given)
        if not given:
            raise ValueError("Times: name at least one second, for example Times([12.5])")
        if any(not second >= 0 for second in given):
            raise ValueError(f"Times: seconds must be 0 or more, got {min(given)}")
        for before, after in itertools.pairwise(given):
            if after < before:
                raise ValueError(f"Times: seconds must be in rising order, got {after} after {before}: sort them first")

    def choose(self, timeline: Timeline) -> np.ndarray:
        return timeline.at(np.asarray(self.seconds))

    def picker(self) -> Picker:
        done = 0

        def pick(begin: float, end: float, key: bool) -> int:
            nonlocal done
            before = done
            while done < len(self.seconds) and self.seconds[done] < end:
                done += 1
            return done - before

        return pick

    def check(self, duration: float) -> None:
        if self.seconds[-1] > duration:
            raise ValueError(f"Times: {self.seconds[-1]} s is outside the film, which lasts {duration:.3f} s")
