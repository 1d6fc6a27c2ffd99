"""What is said, as text: subtitle files beside a film and subtitle tracks inside it."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".srt", ".vtt")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?[A-Za-z](?:[^<>]*)>|<\d+:[\d:.]+>|\{\\[^}]*\}")


@dataclass(frozen=True)
class Cue:
    """Words, and from when to when they are shown, in seconds from the film's start."""

    start: float
    end: float
    text: str


class Cues(list[Cue]):
    """Cues in the order of their start.

    Attributes:
        broken: cues that could not be understood and were left out.
        sources: names of the files and tracks that they come from.
    """

    def __init__(self, cues: Iterable[Cue] = (), broken: int = 0, sources: Iterable[str] = ()) -> None:
        super().__init__(sorted(cues, key=lambda cue: (cue.start, cue.end)))
        self.broken = broken
        self.sources = list(sources)


def subtitles(path: str | Path, *, start: float | None = None) -> Cues:
    """Every cue of a film: from its text tracks and from the .srt and .vtt files that carry its name.

    ``talk.mp4`` goes with ``talk.srt``, ``talk.en.vtt`` and ``talk.mp4.srt`` in its folder. A cue that comes from two
    places is given once. The path of a subtitle file itself gives that file's cues. Tracks of pictures (DVD, Blu-ray)
    are left out.

    Args:
        path: the film, or a subtitle file.
        start: the second on the file's own clock at which the film begins (`VideoInfo.start`); None finds it out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"subtitles: no file {str(path)!r}; check the path")
    if path.suffix.lower() in SUFFIXES:
        return _of_text_file(path)
    found = [_of_text_file(beside) for beside in _beside(path)] + ([_of_tracks(path, start)] if path.is_file() else [])
    once = {(round(cue.start, 1), cue.text): cue for cues in found for cue in cues}
    return Cues(once.values(), sum(cues.broken for cues in found), [name for cues in found for name in cues.sources])


def parse_subtitles(text: str) -> Cues:
    """The cues of SubRip or WebVTT text: tags, settings, notes and styles taken off, rows of a cue joined by a space.

    >>> parse_subtitles("1\\n00:00:01,500 --> 00:00:03,000\\n<i>Good</i>\\nmorning\\n")
    [Cue(start=1.5, end=3.0, text='Good morning')]
    """
    rows = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cues, broken, at = [], 0, 0
    while at < len(rows):
        row = rows[at]
        at += 1
        if row.startswith(("NOTE", "STYLE", "REGION")):
            while at < len(rows) and rows[at].strip() and "-->" not in rows[at]:
                at += 1
            continue
        if "-->" not in row:
            continue
        said = []
        while at < len(rows) and rows[at].strip() and "-->" not in rows[at]:
            said.append(rows[at])
            at += 1
        if at < len(rows) and "-->" in rows[at] and said and said[-1].strip().isdigit():
            said.pop()  # the blank line before the next cue's number is missing
        timing = _TIMING.match(row)
        if timing is None:
            broken += 1
            continue
        start, end = _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:])
        words = plain(" ".join(said))
        if start is None or end is None or end < start:
            broken += 1
        elif words:
            cues.append(Cue(start, end, words))
    return Cues(cues, broken)


def plain(text: str) -> str:
    """Text without the tags and the entities of subtitles, spaces made single.

    >>> plain("{\\\\an8}<v Ann>Salt &amp; <c.loud>pepper</c>  5 < 6")
    'Salt & pepper 5 < 6'
    """
    return " ".join(html.unescape(_TAG.sub("", text).replace("\\N", " ").replace("\\h", " ")).split())


def _seconds(parts: tuple[str | None, ...]) -> float | None:
    hours, minutes, seconds, fraction = parts
    assert minutes is not None and seconds is not None
    if int(seconds) > 59 or (hours is not None and int(minutes) > 59):
        return None
    return (
        int(hours or 0) * 3600
        + int(minutes) * 60
        + int(seconds)
        + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
    )


def _beside(path: Path) -> list[Path]:
    """Subtitle files that carry the film's name."""
    stem = path.name if path.is_dir() else path.stem
    names = (other for other in path.parent.iterdir() if other.suffix.lower() in SUFFIXES and other.is_file())
    return sorted(
        other for other in names if other.stem == stem or other.name.startswith((stem + ".", path.name + "."))
    )


def _of_text_file(path: Path) -> Cues:
    cues = parse_subtitles(_decoded(path.read_bytes()))
    return Cues(cues, cues.broken, [path.name])


def _decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 where its mark says so, or what Windows and Unix wrote before them."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _of_tracks(path: Path, start: float | None) -> Cues:
    """The text tracks inside a film; none where it cannot be opened as one, which reading its frames will report."""
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError):
        return Cues()
    with container:
        tracks = list(container.streams.subtitles)
        if not tracks:
            return Cues()
        if start is None:
            timed = [*container.streams.video, *container.streams.audio]
            starts = [s.start_time * s.time_base for s in timed if s.start_time is not None and s.time_base is not None]
            start = float(min(starts, default=0))
        cues, broken, named = [], 0, set()
        for packet, text in _packets(container, tracks):
            if text is None or packet.pts is None or not packet.duration or packet.duration < 0:
                broken += 1
            elif words := plain(text):
                begin = float(packet.pts * packet.time_base) - start
                cues.append(Cue(begin, begin + float(packet.duration * packet.time_base), words))
                named.add(packet.stream.index)
    return Cues(cues, broken, [f"track {index}" for index in sorted(named)])


def _packets(container: Any, tracks: list[Any]) -> Iterator[tuple[Any, str | None]]:
    """Each subtitle packet with its text, None where it cannot be decoded; tracks of pictures are passed over."""
    import av

    packets = container.demux(*tracks)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:  # the file ends in the middle of a packet
            return
        if packet.size == 0:
            continue
        try:
            rects = list(packet.stream.decode(packet))
        except av.FFmpegError:
            yield packet, None
            continue
        texts = [_spoken(rect) for rect in rects if rect.type != b"bitmap"]
        if texts or not rects:
            yield packet, " ".join(texts)


def _spoken(rect: Any) -> str:
    """The words of a rectangle: FFmpeg makes every text format a line of ASS, eight fields before the text."""
    if rect.type == b"text":
        return str(rect.text.decode("utf-8", errors="replace"))
    fields = rect.ass.decode("utf-8", errors="replace").split(",", 8)
    return fields[8] if len(fields) == 9 else ""
