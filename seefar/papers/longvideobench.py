"""LongVideoBench: questions that refer to a moment of a long video with subtitles (Wu et al. 2024).

Web videos of 8 seconds to an hour, and multiple-choice questions that first lead to a moment ("when the subtitle says
...") and then ask about a detail of it. To answer, a model has to have that moment among what it looked at; so scores
rise with the number of frames, and only for models that can use them. Its files, prompts and the scoring of both
harnesses are in ``seefar.evals.formats.longvideobench``; here a small set of the same format is read by simulated
readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from seefar.evals.coverage import remembered, replies, some, stills
from seefar.evals.formats.longvideobench import Item, frame_times, load
from seefar.evals.formats.longvideobench_score import score
from seefar.evals.formats.longvideobench_small import Film, write_small
from seefar.evals.protocols import Curves, Figure, Measure, sweep
from seefar.memory.bank import Bank
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=183,
    title="LongVideoBench: A Benchmark for Long-context Interleaved Video-Language Understanding",
    arxiv="2407.15754",
    code="longvideobench/LongVideoBench",
    published="models improve only when they are capable of processing more frames; GPT-4o with 256 frames: 66.7 %",
    holds_when=(
        "simulated readers (no pixels: right if the evidence lies in what they look at, else an even guess), frames as "
        "lmms-eval times them: in the 600 s group 4 to 16 and 16 to 64 frames each add 10 points, interval and all "
        "(things stay 7 to 26 s, so a frame every 9.4 s covers most); with 64 frames the 3600 s group is 10 points "
        "below the 600 s group; an event memory of 64 tokens, written at a frame a second of true symbols, is at most "
        "3 points below 256 uniform frames in both"
    ),
    control=(
        "a reader that uses at most 8 of its frames gains at most 3 points from 16 to 64 of them; 64 uniform frames, "
        "the memory's budget, stay more than 3 points below 256 in the 3600 s group"
    ),
)
FRAMES = (4, 16, 64, 256)
Set = tuple[list[Film], list[Item]]


def claim(scale: Scale) -> Verdict:
    """The same questions by how many frames a reader looks at, and by what it makes of them."""
    films = scale.pick({600: 2, 3600: 1}, {15: 150, 60: 150, 600: 150, 3600: 60})
    small = cache(partial(_set, films))
    points = [(group, count) for group in films for count in FRAMES]
    arms = {"uniform frames": partial(_reader, small, 256), "at most 8 frames": partial(_reader, small, 8)}
    by_frames = sweep("frames", arms, points, scale)
    held = partial(_memory, small, scale.pick(0.2, 1.0))
    memory = sweep("memory", {"event memory, 64 tokens": held}, list(films), scale)
    gains = _gains(by_frames, memory)
    checks = {
        "600 s: 16 frames add 10 points to 4": gains["600 s, 4 to 16 frames"].low >= 0.10,
        "600 s: 64 frames add 10 points to 16": gains["600 s, 16 to 64 frames"].low >= 0.10,
        "64 frames: 3600 s is 10 points below 600 s": gains["64 frames, 3600 to 600 s"].low >= 0.10,
        "600 s: the memory is within 3 points of 256 frames": gains["600 s, 256 frames to memory"].low >= -0.03,
        "3600 s: the memory is within 3 points of 256 frames": gains["3600 s, 256 frames to memory"].low >= -0.03,
    }
    few = gains["600 s, 16 to 64 frames, at most 8 used"]
    controls = {
        "at most 8 frames: no gain from more": few.mean <= 0.03 and few.high < 0.10,
        "64 uniform frames fall short of 256 at 3600 s": gains["3600 s, 256 to 64 frames"].mean < -0.03,
    }
    figures = {"accuracy by (group, frames)": by_frames.to_json(), "accuracy of the memory": memory.to_json()}
    figures |= {"gains": {name: gain.to_json() for name, gain in gains.items()}}
    note = "readers are simulated from the stories' truth: coverage of evidence, not what a model makes of a picture"
    return Verdict(figures, checks, controls, note)


def _gains(frames: Curves, memory: Curves) -> dict[str, Figure]:
    """Differences seed by seed: the readers of a seed share their films and guesses."""
    uniform, few = frames["uniform frames"], frames["at most 8 frames"]
    (held,) = memory.values()
    pairs = {
        "600 s, 4 to 16 frames": (uniform[600, 4], uniform[600, 16]),
        "600 s, 16 to 64 frames": (uniform[600, 16], uniform[600, 64]),
        "600 s, 16 to 64 frames, at most 8 used": (few[600, 16], few[600, 64]),
        "64 frames, 3600 to 600 s": (uniform[3600, 64], uniform[600, 64]),
        "3600 s, 256 to 64 frames": (uniform[3600, 256], uniform[3600, 64]),
        "600 s, 256 frames to memory": (uniform[600, 256], held[600]),
        "3600 s, 256 frames to memory": (uniform[3600, 256], held[3600]),
    }
    differences = {name: zip(a.values, b.values, strict=True) for name, (a, b) in pairs.items()}
    return {name: Figure(tuple(after - before for before, after in both)) for name, both in differences.items()}


def _set(films: Mapping[int, int], seed: int) -> Set:
    with TemporaryDirectory() as folder:
        made = write_small(Path(folder), seed=seed, films=films)
        return made, load(folder)


def _reader(small: Callable[[int], Set], most: int, seed: int) -> Measure:
    def measure(point: tuple[int, int]) -> float:
        group, count = point
        look = stills(frame_times("lmms-eval", count, duration=float(group)))
        return _accuracy(small(seed), group, seed, lambda films: [some(look, most, seed, n) for n in range(len(films))])

    return measure


def _memory(small: Callable[[int], Set], rate: float, seed: int) -> Measure:
    def look(films: Sequence[Film]) -> list[np.ndarray]:
        return remembered([film.story for film in films], Bank(64, 1), rate)

    return lambda group: _accuracy(small(seed), group, seed, look)


def _accuracy(made: Set, group: int, seed: int, look: Callable[[Sequence[Film]], list[np.ndarray]]) -> float:
    films = [film for film in made[0] if film.group == group]
    spans = {key: span for film, span in zip(films, look(films), strict=True) for key in film.questions}
    asked = {key: choice for film in films for key, choice in film.questions.items()}
    return score([item for item in made[1] if item.group == group], replies(asked, spans, seed=seed)).accuracy
