"""How well questions about hour-long rendered films are answered inside a budget, beside arms that must do worse."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from seefar.evals.metrics import machine, right, score
from seefar.media import open as open_video
from seefar.media import write_video
from seefar.synthetic.film import render_film
from seefar.synthetic.questions import KINDS
from seefar.vlm.answer import Progress
from seefar.vlm.pico import Pico

BARS = {
    "needle": 0.95, "when": 0.95, "attribute": 0.95, "number": 0.95,
    "order": 0.90, "before/after": 0.90, "count": 0.80, "duration": 0.80,
}  # fmt: skip
ARMS = {
    "seefar": "relevance",
    "uniform frames": "uniform",
    "uniform frames, best patches": "uniform-patches",
    "no video": "blind",
}
CHANCE = {"exists": 1 / 2, "attribute": 1 / 8, "number": 1 / 10, "count": 1 / 4, "order": 1 / 3, "before/after": 1 / 2}
FIRST_SEED = 9300


def run(
    *,
    films: int = 8,
    minutes: float = 60,
    budget: int = 4096,
    fps: float = 1.0,
    rate: float = 2.0,
    folder: str | Path = "build/ask",
    memory: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask held-out films everything their stories can answer, under every arm.

    Args:
        films: how many; each has its own seed, cast, handwriting and wording that training never saw.
        minutes: length of each.
        budget: visual tokens that may reach the language model.
        fps: frames a second to look at.
        rate: frames per second of the files.
        folder: keeps the films, for the next run.
        memory: also compare the peak memory of a ten-hour film with that of a five-minute one.
        progress: called as the work goes on.
    """
    model = Pico.load()
    hits: dict[str, dict[str, list[bool]]] = {arm: defaultdict(list) for arm in ARMS}
    misses: list[dict[str, Any]] = []
    tokens: dict[str, list[int]] = {arm: [] for arm in ARMS}
    stages: list[dict[str, float]] = []
    for n in range(films):
        path, truth = _film(Path(folder), FIRST_SEED + n, minutes, rate)
        questions = truth["questions"]
        for arm, recipe in ARMS.items():
            with open_video(path) as video:
                answers = model.answer(video, [q["question"] for q in questions], budget=budget, fps=fps, recipe=recipe)
            for question, answer in zip(questions, answers, strict=True):
                good = right(question["kind"], question["answer"], answer)
                hits[arm][question["kind"]].append(good)
                tokens[arm].append(answer.cost.tokens_kept)
                if arm == "seefar" and not good:
                    misses.append({"film": FIRST_SEED + n, **question, "got": answer.text})
        with open_video(path) as video:
            began = time.perf_counter()
            alone = model.answer(video, [questions[0]["question"]], budget=budget, fps=fps)[0]
            stages.append(
                {
                    **{k: round(v, 2) for k, v in alone.cost.seconds.items()},
                    "total": round(time.perf_counter() - began, 2),
                }
            )
        if progress is not None:
            progress("films", n + 1, films)
    table_: dict[str, Any] = {
        arm: {kind: score(sum(hits[arm][kind]), len(hits[arm][kind])) for kind in KINDS if hits[arm][kind]}
        for arm in ARMS
    }
    chance_when = 2 * 2.0 / (minutes * 60)
    table_["chance"] = {kind: {"share": round(CHANCE.get(kind, chance_when), 4)} for kind in table_["seefar"]}
    result: dict[str, Any] = {
        "films": films,
        "minutes": minutes,
        "budget": budget,
        "fps": fps,
        "questions": sum(map(len, hits["seefar"].values())),
        "arms": table_,
        "bars": {
            kind: {"at_least": bar, "holds": (table_["seefar"].get(kind, {}).get("share") or 0) >= bar}
            for kind, bar in BARS.items()
        },
        "tokens": {
            arm: {"mean": round(sum(t) / max(1, len(t))), "most": max(t, default=0)} for arm, t in tokens.items()
        },
        "one question, seconds": stages,
        "misses": misses,
        "machine": machine(),
    }
    slowest = max(stage["total"] for stage in stages)
    result["bars"]["an hour of film within 60 s"] = {
        "at_most": 60,
        "got": slowest,
        "holds": slowest * 60 / minutes <= 60,
    }
    if memory:
        result["peak memory"] = compare_memory(Path(folder), budget, progress)
        ratio = result["peak memory"]["ratio"]
        result["bars"]["ten hours in 1.1 times the memory of five minutes"] = {
            "at_most": 1.1,
            "got": ratio,
            "holds": ratio <= 1.1,
        }
    return result


def compare_memory(folder: Path, budget: int, progress: Progress | None = None) -> dict[str, Any]:
    """Peak resident memory of answering one question, each film in a process of its own."""
    peaks = {}
    for name, minutes in (("5 minutes", 5.0), ("10 hours", 600.0)):
        path, truth = _film(folder, 77, minutes, 1.0)
        if progress is not None:
            progress(f"memory, {name}", 0, None)
        code = (
            "import sys; from seefar.media import open; from seefar.vlm.pico import Pico\n"
            "print(Pico.load().answer(open(sys.argv[1]), [sys.argv[2]], budget=int(sys.argv[3]))[0].cost.peak_bytes)"
        )
        argv = [sys.executable, "-c", code, str(path), truth["questions"][0]["question"], str(budget)]
        peaks[name] = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return {
        **{f"{name}, MB": round(peak / 1e6) for name, peak in peaks.items()},
        "ratio": round(peaks["10 hours"] / peaks["5 minutes"], 3),
    }


def _film(folder: Path, seed: int, minutes: float, rate: float) -> tuple[Path, dict[str, Any]]:
    path = folder / f"held-out-{seed}-{minutes:g}min-{rate:g}fps.mp4"
    if path.with_suffix(".json").exists():
        return path, json.loads(path.with_suffix(".json").read_text())
    return path, render_film(path, write_video, seed=seed, minutes=minutes, rate=rate)


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table: a row for each arm, a column for each kind of question."""
    kinds = list(result["arms"]["seefar"])
    lines = ["| | " + " | ".join(kinds) + " | tokens |", "|---|" + "---|" * (len(kinds) + 1)]
    for arm, row in result["arms"].items():
        cells = []
        for kind in kinds:
            cell = row.get(kind)
            if cell is None or cell["share"] is None:
                cells.append("")
            elif "low" in cell:
                cells.append(
                    f"**{cell['share']:.2f}** {cell['low']:.2f}-{cell['high']:.2f}"
                    if arm == "seefar"
                    else f"{cell['share']:.2f}"
                )
            else:
                cells.append(f"{cell['share']:.2f}")
        tokens = result["tokens"].get(arm)
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {tokens['mean'] if tokens else ''} |")
    bars = result["bars"]
    lines.append("| bar | " + " | ".join(f"{bars[k]['at_least']:.2f}" if k in bars else "" for k in kinds) + " | |")
    return "\n".join(lines)
