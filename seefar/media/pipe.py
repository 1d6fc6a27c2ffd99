"""A film that flows by once: standard input, a socket, any file object that cannot seek."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from seefar.media.container import Forward, frames_of, opened
from seefar.media.errors import MediaError
from seefar.media.info import VideoInfo
from seefar.media.paint import Painter, turn_of
from seefar.media.report import Report
from seefar.media.sample import Sampling
from seefar.media.timeline import Timeline

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class Pipe:
    """Frames of a pipe, decoded once in order and never kept.

    Args:
        file: open for reading bytes.
        name: what to call it in messages.
        owned: close the file at the end.
    """

    def __init__(self, file: BinaryIO, name: str, *, owned: bool = False) -> None:
        self._name = name
        self._stack = ExitStack()
        if owned:
            self._stack.callback(file.close)
        self._read = False
        self._container, self._stream = self._stack.enter_context(opened(Forward(file), name))
        self._frames = frames_of(self._container, self._stream)
        first = next(self._frames, None)
        if first is None:
            raise MediaError(f"{name}: no frame can be decoded from this pipe.")
        self._first = first
        self._tick = float(self._stream.time_base or Fraction(1, 90_000))
        self._rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        sound = [
            s.start_time * s.time_base
            for s in self._container.streams.audio
            if s.start_time is not None and s.time_base is not None
        ]
        self._zero = min([(first.pts or 0) * self._tick, *(max(float(start), 0.0) for start in sound)])
        turns, _ = turn_of(first)
        width, height = (first.width, first.height) if turns % 2 == 0 else (first.height, first.width)
        self.info = VideoInfo(
            path=None,
            duration=None,
            width=width,
            height=height,
            rate=self._rate,
            frames=None,
            codec=self._stream.codec_context.name,
            rotation=-90 * turns % 360,
            approximate_times=first.pts is None,
            start=self._zero,
        )

    @property
    def timeline(self) -> Timeline:
        """Not known before the end."""
        raise MediaError(f"{self._name}: a pipe tells its frames only as they come. Save it to a file first.")

    def close(self) -> None:
        """Ends the reading."""
        self._stack.close()

    def painter(self, size: tuple[int, int]) -> Painter:
        """What turns these frames into pixels."""
        return Painter(size)

    def pick(self, sampling: Sampling, report: Report) -> Iterator[tuple[float, VideoFrame]]:
        """The wanted frames with their seconds, each given as soon as the next one has come."""
        picker = sampling.picker()
        if self._read:
            raise MediaError(f"{self._name}: a pipe can be read only once. Save it to a file to read it again.")
        self._read = True
        slack = self._tick / 2 if self._tick <= 1e-3 else 1e-6
        if self.info.approximate_times:
            report.messages.append(f"Times are approximate: no time stamps in this stream, {self._rate:g} fps assumed.")
        with self._stack:
            before: tuple[float, VideoFrame] | None = None
            begin, gap = 0.0, 1 / self._rate
            for second, frame in self._timed(report):
                if before is not None:
                    for _ in range(picker(begin, second - slack, before[1].key_frame)):
                        yield before
                    begin, gap = second - slack, second - before[0]
                before = second, frame
            if before is not None:
                own = before[1].duration
                end = before[0] + (own * self._tick if own else gap)
                for _ in range(picker(begin, math.nextafter(end, math.inf), before[1].key_frame)):
                    yield before
                sampling.check(end)

    def _timed(self, report: Report) -> Iterator[tuple[float, VideoFrame]]:
        """All frames with rising seconds."""
        last = -math.inf
        frame: VideoFrame | None = self._first
        number = 0
        del self._first
        while frame is not None:
            second = number / self._rate if frame.pts is None else frame.pts * self._tick - self._zero
            report.decoded += 1
            number += 1
            if second > last:
                last = second
                yield second, frame
            else:
                report.miss(1, last)
            frame = next(self._frames, None)
        report.close(self._name)
