"""How ``pico`` is made: ``python -m seefar.training.pico`` renders films, trains both networks, writes the weights.

What a run took and reached is kept in ``results/pico.json``; every stage goes on where it was stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seefar.sequence import VisualSequence
from seefar.synthetic.questions import vocabulary
from seefar.training.fit import Progress, fit
from seefar.training.lessons import drill_lessons, emphasised, lesson_batch, lesson_loss, lessons
from seefar.training.relevance import relevance_batch, relevance_loss
from seefar.training.worlds import Reel, reels
from seefar.vlm.eyes import WEIGHTS
from seefar.vlm.pico import Pico
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText, Narrator


@dataclass(frozen=True)
class Course:
    """How much of everything: ten-minute films with and without a plot, the share of the dual encoder's frames that are
    painted afresh, and steps of each stage."""

    films: int = 80
    drills: int = 30
    painted: float = 0.6
    eye_steps: int = 3000
    lesson_steps: int = 2400
    tokens_a_step: int = 6400


def make(folder: Path, out: Path, course: Course = Course(), *, progress: Progress | None = None) -> dict[str, Any]:
    """Render, train both networks, write the weights to ``out``; returns what it took and reached."""
    torch.manual_seed(0)
    began = time.perf_counter()
    words = Words(vocabulary())
    eyes, lm = FrameText(len(words)), Narrator(len(words))
    films = reels(folder, range(course.films), eyes.size, progress=progress)
    drills = reels(folder, range(course.drills), eyes.size, kind="drill", progress=progress)
    rendered = time.perf_counter()
    known = films[: max(1, course.films // 2)]  # of the others its mistakes are those of any film
    seeing = train_eyes(eyes, known, drills, words, folder, course, progress)
    looked = time.perf_counter()
    seen = [watch(eyes, film) for film in films]
    seen_drills = [watch(eyes, drill) for drill in drills]
    made = lessons(eyes, films, seen, words, progress=progress)
    made += drill_lessons(eyes, drills, seen_drills, words, first=len(films))
    prepared = time.perf_counter()
    answering = fit(
        lm,
        lesson_batch(eyes, [*seen, *seen_drills], emphasised(made), course.tokens_a_step, words),
        lesson_loss(words),
        steps=course.lesson_steps,
        lr=1.5e-3,
        folder=folder / "lm",
        save_every=200,
        progress=progress,
    )
    Pico(eyes, lm, words).save(out)

    def tail(log: list[dict[str, float]], key: str) -> float:
        return round(float(np.nanmean([entry[key] for entry in log[-100:] if key in entry])), 4)

    spent = {  # steps count from their own log, so that a course that was stopped and went on says what it took in all
        "dual encoder": sum(entry["seconds"] for entry in seeing),
        "lessons": prepared - looked,
        "language model": sum(entry["seconds"] for entry in answering),
    }
    return {
        "course": asdict(course),
        "lessons": len(made),
        "parameters": sum(p.numel() for net in (eyes, lm) for p in net.parameters()),
        "bytes": out.stat().st_size,
        "threads": torch.get_num_threads(),
        "minutes": {
            "render and read": round((rendered - began) / 60, 1),
            **{stage: round(seconds / 60, 1) for stage, seconds in spent.items()},
            "all but rendering": round(sum(spent.values()) / 60, 1),
        },
        "dual encoder": {key: tail(seeing, key) for key in ("missed", "false", "colour", "shape", "number", "card")},
        "language model": {key: tail(answering, key) for key in ("steps right", "answers right")},
    }


def table(result: dict[str, Any]) -> str:
    """What making pico took and reached, as Markdown."""

    def reached(network: str) -> str:
        return ", ".join(f"{name} {share:.3f}" for name, share in result[network].items())

    minutes = result["minutes"]
    rows = [
        ("films and drills rendered and read", minutes["render and read"], ""),
        ("dual encoder", minutes["dual encoder"], reached("dual encoder")),
        ("what it sees, made into lessons", minutes["lessons"], ""),
        ("language model", minutes["language model"], reached("language model")),
        ("all but the rendering", minutes["all but rendering"], ""),
    ]
    lines = ["| | minutes | in the last 100 training steps |", "|---|---|---|"]
    lines += [f"| {name} | {took:g} | {good} |" for name, took, good in rows]
    lines += ["", f"On {result['threads']} of the cores, in one run."]
    return "\n".join([*lines, *(["", result["note"]] if "note" in result else [])])


def train_eyes(
    eyes: FrameText,
    films: list[Reel],
    drills: list[Reel],
    words: Words,
    folder: Path,
    course: Course,
    progress: Progress | None,
) -> list[dict[str, float]]:
    """Films with a plot repeat few handwritings and photographs, drills show them all; painted frames hold scenery and
    handwriting of every kind; altered frames take colours and outlines apart."""
    return fit(
        eyes,
        relevance_batch([*films, *drills], words, eyes.grid, jitter=0.12, alter=0.25, painted=course.painted),
        partial(relevance_loss, contrast=1.0),
        steps=course.eye_steps,
        lr=2e-3,
        folder=folder / "eyes",
        save_every=250,
        progress=progress,
    )


@torch.inference_mode()
def watch(eyes: FrameText, film: Reel) -> VisualSequence:
    """A whole film's tokens in half precision."""
    parts = [eyes.watch(f, s) for f, s in zip(film.frames.split(100), film.seconds.split(100), strict=True)]
    return VisualSequence.cat(parts).map(Tensor.half)


def main() -> None:
    """Make pico and write the figures of the run."""
    import argparse

    from rich.progress import Progress as Bar

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/pico"), help="films and checkpoints")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the weights")
    parser.add_argument("--results", type=Path, default=Path("results/pico.json"))
    asked = parser.parse_args()
    with Bar() as bar:
        tasks: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        figures = make(asked.folder, asked.out, progress=progress)
    asked.results.parent.mkdir(exist_ok=True)
    asked.results.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
