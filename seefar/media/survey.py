"""One pass over the packets of a file: when every frame is shown and where decoding can begin, nothing decoded."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from seefar.media.container import packets_of
from seefar.media.errors import MediaError
from seefar.media.report import clock
from seefar.media.timeline import Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

BACKWARDS = 1.0  # seconds that key frames may step back before the time stamps count as broken


@dataclass(frozen=True)
class Contents:
    """What the packets of a film tell.

    Args:
        timeline: the table of frames.
        approximate: no usable time stamps; frames are known by their number and times come from the rate.
        doubtful: the stamps follow the order of decoding in a stream that reorders; only decoding tells whether they
            are true.
        seekable: whether time stamps stay the same after a seek.
        lost: frames that the header promises beyond the last packet.
        messages: what to tell a person.
    """

    timeline: Timeline
    approximate: bool
    doubtful: bool
    seekable: bool
    lost: int
    messages: tuple[str, ...]


def survey(container: InputContainer, stream: VideoStream, name: str) -> Contents:
    """Reads all packets of a stream; memory is 17 bytes a frame while it runs.

    Second 0 is the start of the presentation as players take it: the earliest time stamp of the pictures, or of the
    sound where that begins earlier, though sound alone (encoder delay) never moves it before the container's own 0.

    Raises:
        MediaError: no packet can be read.
    """
    stamps, flags, entries = array("q"), array("b"), array("q")
    skipped, unstamped, broken, ticks, end = 0, 0, 0, 0, None
    hides = _hides if stream.codec_context.name == "vp8" else None
    for packet in packets_of(container, stream):
        if packet.pts is not None and packet.is_keyframe:
            entries.append(packet.pts)
        if packet.is_discard or (hides is not None and hides(packet)):
            skipped += 1
            continue
        flags.append(packet.is_keyframe)
        broken += packet.is_corrupt
        if packet.pts is None:
            unstamped += 1
            continue
        stamps.append(packet.pts)
        if end is None or packet.pts >= end:
            end, ticks = packet.pts, packet.duration or 0
    if not flags:
        raise MediaError(f"{name}: no frames in it. The file is cut off right after its header: copy it again.")
    key = np.frombuffer(flags, np.int8) > 0
    starts = np.frombuffer(entries, np.int64)
    tick = stream.time_base or Fraction(1, 90_000)
    rate = float(stream.guessed_rate or stream.average_rate or 25)
    lost = max(stream.frames - len(flags) - skipped, 0)
    if unstamped:
        return by_number("no time stamps in this stream", key, rate, lost)
    steps = np.diff(starts) * float(tick)
    if ((steps < -BACKWARDS) | (steps == 0)).any():
        return by_number("the time stamps run backwards in this stream", key, rate, lost)
    order = np.frombuffer(stamps, np.int64)
    starts = np.unique(starts) if len(starts) else order[:1]
    unique, first = np.unique(order, return_index=True)
    key = key[first]
    if starts[0] > unique[0]:  # recorded from the middle: what precedes the first key packet has nothing to stand on
        kept = unique >= starts[0]
        unique, key = unique[kept], key[kept]
    gap = float(np.median(np.diff(unique))) if len(unique) > 1 else 1 / rate / float(tick)
    zero = _zero(container, int(unique[0]), tick)
    duration = (float(unique[-1]) + (ticks or gap) - zero) * float(tick)
    timeline = Timeline(unique, key, starts, float(tick), zero, duration)
    # In program streams few packets are stamped; the stamps between are guessed, and guessed differently after a seek.
    seekable = container.format.name != "mpeg"
    messages = [*_early_end(container, stream, timeline, name), *_holes(timeline, name)]
    if broken:
        messages.append(f"{name}: damaged in {broken} places, where frames may be missing without a trace")
    doubtful = stream.codec_context.has_b_frames and bool((np.diff(order) > 0).all())
    return Contents(timeline, False, doubtful, seekable, lost, tuple(messages))


def by_number(why: str, key: np.ndarray, rate: float, lost: int) -> Contents:
    """A film whose frames are known by their number only, one each 1 / rate seconds.

    Args:
        why: the reason, for the message.
        key: (N,) bool, key frames.
        rate: frames a second.
        lost: frames beyond the last packet.
    """
    count = len(key)
    timeline = Timeline(np.arange(count), key, np.zeros(1, np.int64), 1 / rate, 0.0, count / rate)
    message = f"Times are approximate: {why}, {rate:g} fps assumed."
    return Contents(timeline, approximate=True, doubtful=False, seekable=False, lost=lost, messages=(message,))


def _zero(container: InputContainer, first: int, tick: Fraction) -> float:
    """The tick of second 0."""
    sound = [s.start_time * s.time_base for s in container.streams.audio if s.start_time is not None and s.time_base]
    return float(min([Fraction(first), *(max(start, Fraction(0)) / tick for start in sound)]))


def _early_end(container: InputContainer, stream: VideoStream, timeline: Timeline, name: str) -> list[str]:
    """The message that a file stops before the time its header names."""
    promised = None
    if stream.duration and stream.time_base:
        promised = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        promised = container.duration / 1e6
    # Matroska counts from its own 0 and not from the first frame; the later end of the two is the safe one.
    end = timeline.duration + max(timeline.zero * timeline.tick, 0.0)
    if promised is None or end > promised - max(1.0, 0.02 * promised):
        return []
    return [f"{name}: breaks off at {clock(timeline.duration)}, its header promises {clock(promised)}"]


def _holes(timeline: Timeline, name: str) -> list[str]:
    """Messages about stretches without frames in a film that otherwise keeps one rate."""
    gaps = np.diff(timeline.stamps)
    usual = np.median(gaps) if len(gaps) else 0
    if not len(gaps) or (np.abs(gaps - usual) * timeline.tick > 2 * timeline.tick + 1e-6).mean() > 0.1:
        return []
    wide = np.flatnonzero((gaps > 8 * usual) & (gaps * timeline.tick > 0.5))
    spans = [f"{clock(timeline.seconds[i])} to {clock(timeline.seconds[i + 1])}" for i in wide[:3]]
    more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
    return [f"{name}: no frames are stored from {', '.join(spans)}{more}"] if spans else []


def _hides(packet: Packet) -> bool:
    """Whether a VP8 packet holds a frame that is only referred to and never shown (RFC 6386, 9.1)."""
    return not bytes(packet)[0] >> 4 & 1
