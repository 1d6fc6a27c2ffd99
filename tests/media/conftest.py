"""Films whose every frame carries its number as sixteen bars, readable after compression, resizing and turning."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

BITS = 12
SIZE = (64, 96)


def _picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3): upper two thirds bars of the number's bits, lower third a moving colour gradient."""
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    bars = height * 2 // 3
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        frame[:bars, left:right] = 210 if number >> bit & 1 else 40
    ramp = (np.arange(width) * 255 // width + number * 5) % 256
    frame[bars:] = np.stack([ramp, 255 - ramp, np.full(width, 128)], -1)
    return frame


def _number(picture: np.ndarray) -> int:
    """The number that a (H, W, 3) or (3, H, W) picture carries."""
    picture = np.asarray(picture)
    if picture.shape[0] == 3:
        picture = picture.transpose(1, 2, 0)
    height, width = picture.shape[:2]
    rows = picture[height // 8 : height // 2].mean((0, 2))
    value = 0
    for bit in range(BITS):
        left, right = bit * width / BITS, (bit + 1) * width / BITS
        value |= (
            int(rows[int(left + (right - left) / 4) : int(np.ceil(right - (right - left) / 4))].mean() > 125) << bit
        )
    return value


def _plain(path: object, **open_options: object) -> list[tuple[int | None, np.ndarray, Fraction]]:
    """Every frame by plain PyAV on one thread, without anything of ours: (pts, (H, W, 3) RGB, time base)."""
    import av

    frames = []
    with av.open(path if hasattr(path, "read") else str(path), metadata_errors="ignore", **open_options) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            for frame in decoded:
                if not frame.is_corrupt:
                    frames.append((frame.pts, frame.to_ndarray(format="rgb24"), stream.time_base))
    return frames


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    return _picture


@pytest.fixture(scope="session")
def number() -> Callable[[np.ndarray], int]:
    return _number


@pytest.fixture(scope="session")
def plain() -> Callable[..., list]:
    return _plain


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Iterator[np.ndarray]]:
    return lambda count, size=SIZE: (_picture(index, size) for index in range(count))


@pytest.fixture(scope="session")
def remux() -> Callable[..., Path]:
    """Copies the packets of a film into another container, moving or dropping their time stamps."""

    def copy(source: Path, target: Path, *, shift: Fraction = Fraction(0), options: dict | None = None, **more) -> Path:
        import av

        with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}, **more) as new:
            stream = old.streams.video[0]
            fresh = new.add_stream_from_template(stream)
            for packet in old.demux(stream):
                if not packet.size:
                    continue
                packet.pts += int(shift / packet.time_base)
                packet.dts += int(shift / packet.time_base)
                packet.stream = fresh
                new.mux(packet)
        return target

    return copy
