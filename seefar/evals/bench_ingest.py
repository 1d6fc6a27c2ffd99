"""How fast films come in, against plain PyAV on the same file, and whether memory stays flat in their length."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seefar.media.sample import Fps, Sampling, Uniform
from seefar.media.video import open as open_video
from seefar.media.write import write_video

FILM = (360, 640)  # height, width
RATE = 24
SIZE = (224, 392)  # what frames are resized to
ROUNDS = 3
ALLOWED = 1.15  # time over plain decoding
GROWTH = 1.10  # peak memory of a film over that of one six times shorter


def run(minutes: float = 10, folder: str | Path | None = None) -> dict[str, Any]:
    """Renders an H.264 film and times readings of it in one process, taking turns.

    ``plain`` decodes every frame with PyAV on all cores and converts none; ``plain, converted`` also turns every frame
    into a resized RGB array, as PyAV's manual shows it. Times are medians over rounds.

    Args:
        minutes: length of the film, 640 x 360 at 24 frames a second.
        folder: where films are kept for the next run; None renders into a temporary one.

    Returns:
        JSON-able: the film, a row for each reading, peak memory of a short and a long film, and the bars with what was
        measured and whether it holds.
    """
    with tempfile.TemporaryDirectory() as spare:
        home = Path(folder) if folder is not None else Path(spare)
        home.mkdir(parents=True, exist_ok=True)
        film = _film(home, minutes)
        frames = round(minutes * 60 * RATE)
        readings: dict[str, Callable[[], int]] = {
            "plain": lambda: _plain(film, convert=False),
            "plain, converted": lambda: _plain(film, convert=True),
            "every frame": lambda: _ours(film, Fps(RATE)),
            "Fps(1)": lambda: _ours(film, Fps(1)),
            "Uniform(64)": lambda: _ours(film, Uniform(64)),
        }
        times: dict[str, list[float]] = {name: [] for name in readings}
        given = {}
        for _ in range(ROUNDS):
            for name, reading in readings.items():
                begin = time.perf_counter()
                given[name] = reading()
                times[name].append(time.perf_counter() - begin)
        short, long = _peak(_film(home, minutes / 6)), _peak(film)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    rows: list[dict[str, Any]] = [
        {
            "reading": name,
            "frames given": given[name],
            "seconds": seconds[name],
            "film frames a second": frames / seconds[name],
            "times plain": statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True)),
            "times plain, converted": statistics.median(
                a / b for a, b in zip(times[name], times["plain, converted"], strict=True)
            ),
        }
        for name in readings
    ]
    of = {row["reading"]: row for row in rows}
    bars: dict[str, tuple[float, float]] = {
        f"dense at most {ALLOWED} of plain (Fps(1), every frame decoded)": (of["Fps(1)"]["times plain"], ALLOWED),
        f"every frame at most {ALLOWED} of plain, converted": (of["every frame"]["times plain, converted"], ALLOWED),
        "Uniform(64) faster than plain": (of["Uniform(64)"]["times plain"], 1.0),
        f"peak memory at most {GROWTH} of a film six times shorter": (long / short, GROWTH),
    }
    return {
        "film": {"minutes": minutes, "frames": frames, "height": FILM[0], "width": FILM[1], "rate": RATE},
        "rows": rows,
        "peak megabytes": {"short": short / 1e6, "long": long / 1e6},
        "bars": {
            name: {"measured": value, "allowed": most, "holds": value <= most} for name, (value, most) in bars.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result of `run` in Markdown."""
    film = result["film"]
    lines = [
        f"{film['minutes']:g} minutes of H.264, {film['width']} x {film['height']} at {film['rate']} frames a second; "
        f"frames resized to {SIZE[1]} x {SIZE[0]}.",
        "",
        "| reading | frames given | seconds | film frames / s | times plain | times plain, converted |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['reading']} | {row['frames given']} | {row['seconds']:.2f} | {row['film frames a second']:.0f} "
            f"| {row['times plain']:.2f} | {row['times plain, converted']:.2f} |"
        )
    memory = result["peak megabytes"]
    lines += [
        "",
        f"Peak memory: {memory['short']:.0f} MB for a sixth of the film, {memory['long']:.0f} MB for all of it.",
        "",
    ]
    lines += ["| bar | measured | holds |", "|---|---|---|"]
    lines += [
        f"| {name} | {bar['measured']:.2f} | {'yes' if bar['holds'] else 'no'} |"
        for name, bar in result["bars"].items()
    ]
    return "\n".join(lines)


def _film(folder: Path, minutes: float) -> Path:
    """The film of that length in the folder, rendered if it is not there yet."""
    path = folder / f"ingest-{minutes:.4g}.mp4"
    if not path.exists():
        write_video(path, _scenes(round(minutes * 60 * RATE)), RATE, gop=2 * RATE, threads=0)
    return path


def _scenes(count: int) -> Iterator[np.ndarray]:
    """Frames of a textured ground that drifts, with a block that moves against it; a new ground every ten seconds."""
    height, width = FILM
    for index in range(count):
        if index % (10 * RATE) == 0:
            rng = np.random.default_rng(index)
            coarse = rng.integers(0, 256, (height // 20, width // 10, 3), dtype=np.uint8)
            ground = coarse.repeat(20, 0).repeat(20, 1)
        left = 2 * index % width
        frame = ground[:, left : left + width].copy()
        top, side = 3 * index % (height - 80), 5 * index % (width - 80)
        frame[top : top + 80, side : side + 80] = (index * 7 % 256, 64, 200)
        yield frame


def _plain(path: Path, *, convert: bool) -> int:
    """Frames decoded by PyAV alone."""
    import av

    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if convert:
                frame.to_ndarray(format="rgb24", width=SIZE[1], height=SIZE[0])
            count += 1
    return count


def _ours(path: Path, sampling: Sampling) -> int:
    """Frames read by seefar, opening included."""
    return sum(len(clip) for clip in open_video(path).read(sampling, size=SIZE))


def _peak(path: Path) -> int:
    """Peak memory in bytes of a process that reads a film at one frame a second, what importing took included."""
    code = (
        "import sys; from seefar.evals import bench_ingest as b; from seefar.vlm.answer import peak_bytes; "
        "b._ours(b.Path(sys.argv[1]), b.Fps(1)); print(peak_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    return int(done.stdout)
