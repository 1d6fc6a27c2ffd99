"""Frames in, a playable video file out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

TICKS = 90_000  # of a second: every usual frame rate and audio clock divides it, so variable times keep their place


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    rate: float | Fraction,
    *,
    crf: int = 23,
    preset: str = "veryfast",
    gop: int | None = None,
    seconds: Iterable[float] | None = None,
    codec: str = "libx264",
    pixels: str | None = None,
    threads: int = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """Encodes the frames into a file that is either complete or not there: it gets its name only once it is finished.

    Args:
        path: where to; the ending names the container (.mp4, .mkv, .avi, ...).
        frames: (H, W, 3) uint8 RGB arrays, all of one size; read one at a time.
        rate: frames a second; with ``seconds``, the nominal rate only.
        crf: constant quality of libx264 and libx265, 0 lossless to 51 worst.
        preset: speed against size, "ultrafast" to "veryslow".
        gop: frames from one key frame to the next at most; None means ten seconds.
        seconds: one presentation time for each frame, rising, for a variable rate; kept to 1/90000 s.
        codec: FFmpeg's name of the encoder.
        pixels: pixel format; None means "yuv420p" (plays everywhere), or "yuv444p" where a side is odd.
        threads: of the encoder; 0 lets it choose.
        options: further private options of the encoder, for example {"bf": "3"}.

    Returns:
        The path.

    Raises:
        ValueError: no frames, frames of two sizes or another type, or times that do not rise.
    """
    import av
    from av.video.stream import VideoStream

    if av.Codec(codec, "w").type != "video":
        raise ValueError(f"write_video: {codec} encodes no pictures; for example libx264")
    path = Path(path)
    rows = iter(frames)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"write_video: no frames for {path.name}")
    rate = Fraction(rate).limit_denominator(1_001_000)
    if rate <= 0:
        raise ValueError(f"write_video: rate must be positive frames a second, got {rate}")
    height, width = first.shape[:2]
    tuning = dict(options or {})
    if codec in ("libx264", "libx265"):
        tuning = {"crf": str(crf), "preset": preset} | tuning
    if codec == "libx265":
        tuning = {"x265-params": "log-level=error"} | tuning
    times = _ticks(seconds) if seconds is not None else None
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with av.open(str(part), "w") as container:
            stream = container.add_stream(codec, rate=rate, options=tuning)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height = width, height
            stream.pix_fmt = pixels or ("yuv444p" if height % 2 or width % 2 else "yuv420p")
            stream.codec_context.gop_size = gop or max(1, round(10 * rate))
            stream.codec_context.thread_count = threads
            stream.codec_context.time_base = 1 / rate if times is None else Fraction(1, TICKS)
            for index, array in enumerate(itertools.chain([first], rows)):
                if array.shape != (height, width, 3) or array.dtype != np.uint8:
                    wanted = f"({height}, {width}, 3) uint8"
                    raise ValueError(f"write_video: frame {index} is {array.shape} {array.dtype}, expected {wanted}")
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
                frame.pts = index if times is None else next(times)
                frame.time_base = stream.codec_context.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _ticks(seconds: Iterable[float]) -> Iterator[int]:
    """The times in 1/90000 s; complains where two frames would share one, or when there are fewer times than frames."""
    last = None
    for index, second in enumerate(seconds):
        tick = round(second * TICKS)
        if last is not None and tick <= last:
            raise ValueError(f"write_video: seconds must rise; frame {index} is at {second} s, not after the last")
        yield tick
        last = tick
    raise ValueError("write_video: fewer seconds than frames")
