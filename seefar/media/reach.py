"""Getting to wanted frames with as little decoding as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

import numpy as np

from seefar.media.container import frames_of
from seefar.media.report import Report
from seefar.media.survey import Contents

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SEEK_COST = 16  # frames that could have been decoded in the time of one seek


class Reach:
    """One reading of a film whose time stamps are known.

    It decodes on while the next wanted frame is near, and seeks to the key frame before it where that saves work. Where
    a wanted frame cannot be decoded, the last one before it that can be stands in, as in a player; to find it decoding
    begins earlier, if need be at the start of the film. So the frames given do not depend on where it seeks.

    Args:
        opened: opens the file anew, standing at its start.
        contents: its table.
        seek_cost: seek only where that saves decoding at least so many frames.
        report: counts what is decoded and what is damaged.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[tuple[InputContainer, VideoStream]]],
        contents: Contents,
        seek_cost: float,
        report: Report,
    ) -> None:
        self._opened = opened
        self._timeline = contents.timeline
        self._lost = contents.lost
        self._seek_cost = seek_cost if contents.seekable else np.inf
        self._report = report
        self._missed = np.zeros(len(contents.timeline), bool)
        self._stack = ExitStack()
        self._place: tuple[InputContainer, VideoStream] | None = None
        self._alone = False  # decode on one thread

    def pick(self, wanted: np.ndarray, repeats: bool) -> Iterator[tuple[float, VideoFrame]]:
        """Frames with their seconds.

        Args:
            wanted: (K,) positions in the timeline, never falling.
            repeats: give a frame for every position, even the same one again; else no frame twice.
        """
        last: int | None = None
        with self._stack:
            for stamp, frame in self._shown(wanted):
                if last is None or stamp > last or (repeats and stamp == last):
                    last = stamp
                    yield (stamp - self._timeline.zero) * self._timeline.tick, frame

    def _shown(self, wanted: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
        """A frame and its stamp for each wanted position, until the film has none left."""
        timeline = self._timeline
        cuts = timeline.stamps[wanted]
        entry_of = (np.searchsorted(timeline.entries, cuts, side="right") - 1).clip(min=0)
        entry_place = np.searchsorted(timeline.stamps, timeline.entries[entry_of])
        at, back = 0, 0
        while at < len(cuts):
            entry = max(int(entry_of[at]) - back, 0)
            shown: tuple[int, VideoFrame] | None = None
            for met in self._run(entry):
                if shown is None and entry and met[0] > cuts[at]:
                    break  # nothing decodes between this key packet and the wanted frame
                before = at
                while at < len(cuts) and cuts[at] <= met[0]:
                    yield met if shown is None or cuts[at] == met[0] else shown
                    at += 1
                shown = met
                if at == len(cuts):
                    return
                if at > before and entry_place[at] - wanted[at - 1] >= self._seek_cost:
                    break
            else:
                if shown is not None:  # the film ends here; its last frame stays shown
                    for _ in range(at, len(cuts)):
                        yield shown
                    return
                if not entry:
                    return
            back = 0 if shown is not None else 2 * back + 1

    def _run(self, entry: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames and their stamps from a key packet to the end; counts those that should come between but do not."""
        stamps = self._timeline.stamps
        begin = int(self._timeline.entries[entry]) if entry else int(stamps[0])
        place = int(np.searchsorted(stamps, begin))
        whole = not entry or stamps[place] != begin  # the key frame itself is hidden, or need not be met
        last = begin - 1
        for frame in self._with_tail(entry):
            if frame.pts is None or frame.pts <= last:  # damage can bring a frame out after its turn
                continue
            if not whole and frame.pts != begin:
                return  # the key frame is damaged; what stands on it looks better when decoding begins earlier
            whole, last = True, frame.pts
            self._report.decoded += 1
            if place < len(stamps) and stamps[place] == frame.pts:
                place += 1
            else:
                self._miss(place, int(np.searchsorted(stamps, frame.pts)))
                place = int(np.searchsorted(stamps, frame.pts, side="right"))
            yield frame.pts, frame
        self._miss(place, len(stamps))
        self._report.miss(self._lost, self._timeline.duration)
        self._lost = 0

    def _with_tail(self, entry: int) -> Iterator[VideoFrame]:
        """Frames from a key packet on, the last ones too where the file ends in damage.

        There, several decoding threads drop what they still hold; one thread gives it.
        """
        entries = self._timeline.entries
        last = int(entries[entry]) - 1
        for frame in self._from(entry):
            last = last if frame.pts is None else frame.pts
            yield frame
        if last < self._timeline.stamps[-1] and not self._alone:
            self._alone = True
            self._reopen()
            again = self._from(max(int(np.searchsorted(entries, last, side="right")) - 1, 0))
            yield from (frame for frame in again if frame.pts is not None and frame.pts > last)

    def _from(self, entry: int) -> Iterator[VideoFrame]:
        """Frames from a key packet on; where the container cannot go there, from an earlier one."""
        import av

        entries = self._timeline.entries
        back = 0
        while entry - back > 0:
            container, stream = self._place or self._reopen()
            try:
                depth = stream.codec_context.reorder_depth
                container.seek(int(entries[entry - back]), stream=stream)
                stream.codec_context.reorder_depth = depth  # flushing forgets it, and then reordered frames are dropped
                frames = frames_of(container, stream, entries[: entry - back + 1])
                first = next(frames, None)
            except (LookupError, av.FFmpegError):  # landed elsewhere, or this container cannot seek
                first = None
            if first is not None:
                yield first
                yield from frames
                return
            back = 2 * back + 1
        yield from frames_of(*self._reopen())

    def _reopen(self) -> tuple[InputContainer, VideoStream]:
        self._stack.close()
        self._place = self._stack.enter_context(self._opened())
        if self._alone:
            self._place[1].thread_count = 1
        return self._place

    def _miss(self, begin: int, end: int) -> None:
        """Counts the frames at these positions as damaged, each once."""
        fresh = begin + np.flatnonzero(~self._missed[begin:end])
        if len(fresh):
            self._missed[fresh] = True
            self._report.miss(len(fresh), float(self._timeline.seconds[fresh[0]]))
