"""What every model of seefar gives back, and what it takes to be one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seefar.media import Video

Progress = Callable[[str, int, int | None], None]
"""Called as ``progress(stage, done, total)`` while long work goes on; total is None where it is not known."""


@dataclass(frozen=True)
class Moment:
    """A stretch of the film that an answer rests on.

    Args:
        start, end: presentation time in seconds; equal for a single frame.
        score: how strongly it speaks for the answer, in [0, 1], comparable within one answer.
        text: the words seen or heard there, where the model read any.
    """

    start: float
    end: float
    score: float
    text: str = ""


@dataclass(frozen=True)
class Cost:
    """The bill of an answer, as measured.

    Args:
        frames_seen, tokens_seen: what was decoded and encoded.
        frames_kept, tokens_kept: what reached the language model; tokens_kept never exceeds the budget.
        seconds: wall time of each stage by name.
        peak_bytes: the largest resident memory of this process so far.
    """

    frames_seen: int
    frames_kept: int
    tokens_seen: int
    tokens_kept: int
    seconds: dict[str, float]
    peak_bytes: int


@dataclass(frozen=True)
class Answer:
    """An answer, the moments it rests on, and what it cost.

    Args:
        moments: strongest first.
        looked: seconds of the frames that reached the language model, in time order.
        sampling: what was asked for and what was used, e.g. {"asked": {"fps": 1.0}, "used": {"frames": 3600}}.
        warnings: what the reader of this answer has to know (damage, approximate times, limits of the model).
    """

    text: str
    moments: tuple[Moment, ...]
    cost: Cost
    model: str
    question: str = ""
    looked: tuple[float, ...] = ()
    sampling: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What an answer will take, told before any weight is loaded.

    Args:
        frames: frames to decode.
        visual_tokens: tokens that reach the language model, at most the budget.
        kv_bytes: key-value cache of the whole prompt.
        weight_bytes: the model itself.
        seconds: expected wall time by stage.
    """

    model: str
    recipe: str
    frames: int
    visual_tokens: int
    kv_bytes: int
    weight_bytes: int
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


class Model(ABC):
    """Something that answers questions about a film inside a budget of visual tokens."""

    name: str

    @abstractmethod
    def answer(
        self,
        video: Video,
        questions: Sequence[str],
        *,
        budget: int = 4096,
        fps: float = 1.0,
        recipe: str | None = None,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """One answer for each question; the film is read once for all, in memory that does not grow with its length."""


def clock(seconds: float) -> str:
    """A time as people write it: ``clock(3725.4) == '1:02:05.4'``, ``clock(65) == '01:05'``.

    >>> clock(3725.4), clock(65), clock(59.96)
    ('1:02:05.4', '01:05', '01:00')
    """
    tenths = round(seconds * 10)
    sign, tenths = ("-" if tenths < 0 else ""), abs(tenths)
    whole, tenth = divmod(tenths, 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    front = f"{hours}:{minute:02d}" if hours else f"{minute:02d}"
    return f"{sign}{front}:{second:02d}" + (f".{tenth}" if tenth else "")


def peak_bytes() -> int:
    """The largest resident memory of this process so far, in bytes."""
    import resource
    import sys
    from pathlib import Path

    status = Path("/proc/self/status")
    if status.exists():  # Linux hands ru_maxrss of the parent on to the child, so it can't tell two runs apart
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
