"""The front door: anything with pictures in it becomes clips of RGB frames with their seconds."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch

from seefar.media.container import refuse_unreadable
from seefar.media.errors import MediaError
from seefar.media.film import Film
from seefar.media.info import VideoInfo
from seefar.media.pipe import Pipe
from seefar.media.report import Report
from seefar.media.sample import Sampling
from seefar.media.stills import Stills, images_in
from seefar.media.timeline import Timeline
from seefar.sequence import Clip


class _Painter(Protocol):
    def paint(self, picture: Any, out: np.ndarray) -> None: ...


class _Source(Protocol):
    """What a Video needs of a kind of source."""

    @property
    def info(self) -> VideoInfo: ...

    @property
    def timeline(self) -> Timeline: ...

    def painter(self, size: tuple[int, int]) -> _Painter: ...

    def pick(self, sampling: Sampling, report: Report) -> Iterator[tuple[float, Any]]: ...

    def close(self) -> None: ...


class Video:
    """A source of frames; `open` makes one.

    Seconds count from the start of the presentation as players take it: presentation time stamps, minus the earliest
    one of pictures or sound. Edit lists, rotation, and reordering of frames are followed.

    Args:
        source: where the frames come from.
        path: the file or folder, None for a pipe or a file object.
    """

    def __init__(self, source: _Source, path: Path | None) -> None:
        self._source = source
        self.path = path
        self.report = Report()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of a pipe that was not read to its end; files are open only while a reading goes on."""
        self._source.close()

    @cached_property
    def info(self) -> VideoInfo:
        """Size, length, rate and the like; reads the packets of a film and decodes one frame.

        Raises:
            MediaError: nothing can be decoded.
        """
        return self._source.info

    @property
    def timeline(self) -> Timeline:
        """When each frame is shown, and which are key frames; nothing is decoded for it.

        Raises:
            MediaError: nothing can be read, or the source is a pipe, which tells its frames only as they come.
        """
        return self._source.timeline

    @property
    def warnings(self) -> list[str]:
        """What a person should be told about the last reading."""
        return list(self.report.messages)

    def read(self, sampling: Sampling, *, size: tuple[int, int] | None = None, chunk: int = 64) -> Iterator[Clip]:
        """The wanted frames, a chunk at a time; memory does not grow with the length of the film.

        Args:
            sampling: which frames: `Fps`, `Uniform`, `Keyframes` or `Times`.
            size: (H, W) to resize to; None keeps that of the film.
            chunk: frames in a clip; the last clip may hold fewer.

        Yields:
            Clips of (T, 3, H, W) uint8 RGB with the real second of each frame.

        Raises:
            MediaError: nothing can be decoded, or a pipe cannot give what is asked.
            ValueError: times outside the film, or a size or a chunk that is not positive.
        """
        if chunk < 1:
            raise ValueError(f"read: chunk must be at least 1 frame, got {chunk}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"read: size must be (height, width) in pixels, got {size}")
        self.report = report = Report()
        return self._clips(sampling, size or (self.info.height, self.info.width), chunk, report)

    def _clips(self, sampling: Sampling, size: tuple[int, int], chunk: int, report: Report) -> Iterator[Clip]:
        painter = self._source.painter(size)
        pixels = _pages((chunk, 3, *size))
        seconds: list[float] = []
        with closing(self._source.pick(sampling, report)) as picked:  # type: ignore[type-var]
            for second, picture in picked:
                painter.paint(picture, pixels[len(seconds)])
                seconds.append(second)
                if len(seconds) == chunk:
                    yield _clip(pixels, seconds)
                    pixels, seconds = _pages((chunk, 3, *size)), []
        if seconds:
            yield _clip(pixels[: len(seconds)], seconds)

    def clip(self, sampling: Sampling, *, size: tuple[int, int] | None = None) -> Clip:
        """All wanted frames in one clip; arguments and errors as `read`.

        Raises:
            MediaError: also where not one of the wanted frames can be decoded.
        """
        parts = list(self.read(sampling, size=size))
        if not parts:
            name = self.path.name if self.path else "the stream"
            raise MediaError(
                f"{name}: not one of the wanted frames can be decoded. Copy it again, or ask elsewhere in it."
            )
        return Clip(torch.cat([part.frames for part in parts]), torch.cat([part.seconds for part in parts]))


def _pages(shape: tuple[int, ...]) -> np.ndarray:
    """An array in pages of its own, which go back to the system with it.

    From the heap, the buffers of an hour of chunks, dropped one by one, leave holes of hundreds of megabytes.
    """
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


def _clip(pixels: np.ndarray, seconds: list[float]) -> Clip:
    return Clip(torch.from_numpy(pixels), torch.tensor(seconds, dtype=torch.float64))


def open(source: str | Path | BinaryIO, *, rate: float = 1.0) -> Video:
    """A video to read frames from, nothing decoded yet.

    Args:
        source: a video, an animated GIF or an image; a folder of images, which are shown in natural order; "-" for
            standard input; or a binary file object.
        rate: pictures a second in a folder of images.

    Raises:
        MediaError: a missing, empty or text file, a folder without images, a pipe that cannot be decoded.
    """
    if not isinstance(source, (str, Path)):
        name = getattr(source, "name", None)
        return _of_file(source, name if isinstance(name, str) else "the stream")
    if str(source) == "-":
        return _of_file(sys.stdin.buffer, "standard input")
    path = Path(source).expanduser()
    if path.is_dir():
        return Video(Stills(images_in(path), path.name, rate, path), path)
    refuse_unreadable(path)
    if not path.is_file():
        return Video(Pipe(path.open("rb"), path.name, owned=True), path)
    if _is_image(path):
        return Video(Stills([path], path.name, 1.0, path), path)
    return Video(Film(path, path.name), path)


def _of_file(file: BinaryIO, name: str) -> Video:
    seekable = getattr(file, "seekable", None)
    if seekable is not None and seekable():
        return Video(Film(file, name), None)
    return Video(Pipe(file, name), None)


def _is_image(path: Path) -> bool:
    """Whether the first bytes are those of a still picture; films made of pictures (GIF, APNG) are films."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"acTL" not in head
    if head.startswith(b"\xff\xd8\xff"):
        return path.suffix.lower() not in (".mjpeg", ".mjpg")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith((b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n"))
