"""A film in a file that can be read from anywhere: packets first, then only the decoding that is needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from seefar.media.container import frames_of, opened
from seefar.media.errors import MediaError
from seefar.media.info import VideoInfo
from seefar.media.paint import Painter, turn_of
from seefar.media.reach import SEEK_COST, Reach
from seefar.media.report import Report
from seefar.media.sample import Sampling
from seefar.media.survey import Contents, by_number, survey
from seefar.media.timeline import Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

PROBE = 48  # frames decoded to learn whether doubtful time stamps are true


class Film:
    """Frames of a file that can seek.

    Args:
        source: a path, or a binary file object.
        name: what to call it in messages.
        seek_cost: seek only where that saves decoding at least so many frames.
    """

    def __init__(self, source: Path | BinaryIO, name: str, *, seek_cost: float = SEEK_COST) -> None:
        self._source = source
        self._name = name
        self._seek_cost = seek_cost

    @cached_property
    def contents(self) -> Contents:
        """The table of frames, from one pass over the packets."""
        with self._opened() as (container, stream):
            contents = survey(container, stream, self._name)
        if not contents.doubtful:
            return contents
        with self._opened() as (container, stream):
            stamps = [frame.pts for frame in itertools.islice(frames_of(container, stream), PROBE)]
        timeline = contents.timeline
        if all(
            before <= after for before, after in itertools.pairwise(stamps) if before is not None and after is not None
        ):
            return contents
        return by_number("this stream holds only decoding times", timeline.key, timeline.rate, contents.lost)

    @property
    def timeline(self) -> Timeline:
        """When each frame is shown."""
        return self.contents.timeline

    @cached_property
    def info(self) -> VideoInfo:
        """What the file says about itself; decodes one frame, for its size and its rotation."""
        timeline = self.contents.timeline
        with self._opened() as (container, stream):
            frame = next(frames_of(container, stream), None)
            if frame is None:
                codec = stream.codec_context.name
                raise MediaError(f"{self._name}: no frame can be decoded (codec {codec}). Copy it again.")
            turns, _ = turn_of(frame)
            width, height = (frame.width, frame.height) if turns % 2 == 0 else (frame.height, frame.width)
            return VideoInfo(
                path=str(self._source) if isinstance(self._source, Path) else None,
                duration=timeline.duration,
                width=width,
                height=height,
                rate=timeline.rate,
                frames=len(timeline),
                codec=stream.codec_context.codec.canonical_name,
                rotation=-90 * turns % 360,
                variable_rate=timeline.variable,
                approximate_times=self.contents.approximate,
                start=timeline.zero * timeline.tick,
            )

    def close(self) -> None:
        """Nothing to do: each reading closes what it opens."""

    def painter(self, size: tuple[int, int]) -> Painter:
        """What turns this film's frames into pixels."""
        return Painter(size)

    def pick(self, sampling: Sampling, report: Report) -> Iterator[tuple[float, VideoFrame]]:
        """The wanted frames with their seconds, in order."""
        timeline = self.contents.timeline
        sampling.check(timeline.duration)
        report.messages.extend(self.contents.messages)
        wanted = sampling.choose(timeline)
        if self.contents.approximate:
            yield from self._count(wanted, report)
        else:
            reach = Reach(self._opened, self.contents, self._seek_cost, report)
            yield from reach.pick(wanted, sampling.repeats)
        report.close(self._name)

    def _opened(self) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        if not isinstance(self._source, Path):
            self._source.seek(0)
        return opened(self._source, self._name)

    def _count(self, wanted: np.ndarray, report: Report) -> Iterator[tuple[float, VideoFrame]]:
        """Without time stamps a frame is known by its number only, so all are decoded in order."""
        seconds = self.contents.timeline.seconds
        at = 0
        with self._opened() as (container, stream):
            for number, frame in enumerate(itertools.islice(frames_of(container, stream), len(seconds))):
                report.decoded += 1
                while at < len(wanted) and wanted[at] == number:
                    yield float(seconds[number]), frame
                    at += 1
                if at == len(wanted):
                    return
        report.miss(len(seconds) - report.decoded, float(seconds[min(report.decoded, len(seconds) - 1)]))
