"""Needles in haystacks: one photograph flashed for one frame of a long film, at every depth and many lengths.

The film is read at one frame a second and is itself drawn at one frame a second, so that a needle is one frame of N.
Scored by generation: the time in the answer's text has to lie within two seconds of the flash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from seefar.evals.metrics import machine, right, score
from seefar.evals.report import draw_heat
from seefar.media import open as open_video
from seefar.media import write_video
from seefar.synthetic.film import render_film
from seefar.synthetic.questions import ask_about
from seefar.synthetic.shapes import PHOTOGRAPHS
from seefar.synthetic.story import write_story
from seefar.vlm.answer import Progress
from seefar.vlm.pico import Pico

DEPTHS = tuple(round(d, 1) for d in np.linspace(0, 1, 11))
ARMS = {"seefar": "relevance", "uniform frames": "uniform", "no video": "blind"}
BAR = 0.95


def run(
    *,
    lengths: tuple[int, ...] = (450, 900, 1800, 3600),
    films: int = 8,
    extra: tuple[int, ...] = (10_000,),
    budget: int = 4096,
    folder: str | Path = "build/needle",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find one flashed photograph among ten others, for every length and depth.

    Args:
        lengths: frames of the films.
        films: how many of each length, every one with a needle at each depth.
        extra: lengths tried with one film only.
        budget: visual tokens that may reach the language model.
        folder: keeps the films, for the next run.
        progress: called as the work goes on.
    """
    model = Pico.load()
    plan = [(n, k) for n in lengths for k in range(films)] + [(n, 0) for n in extra]
    hits: dict[tuple[str, int, float], list[bool]] = {}
    for done, (frames, k) in enumerate(plan):
        path, needles = _haystack(Path(folder), frames, k)
        for arm, recipe in ARMS.items():
            with open_video(path) as video:
                answers = model.answer(video, [n["question"] for n in needles], budget=budget, fps=1.0, recipe=recipe)
            for needle, answer in zip(needles, answers, strict=True):
                hits.setdefault((arm, frames, needle["depth"]), []).append(right("needle", needle["answer"], answer))
        if progress is not None:
            progress("haystacks", done + 1, len(plan))
    cells = [
        {"arm": arm, "frames": frames, "depth": depth, **score(sum(found), len(found))}
        for (arm, frames, depth), found in hits.items()
    ]

    def pooled(arm: str, depth: float) -> dict[str, Any]:
        found = [x for (a, n, d), xs in hits.items() if a == arm and d == depth and n in lengths for x in xs]
        return {"depth": depth, **score(sum(found), len(found))}

    by_depth = {arm: [pooled(arm, depth) for depth in DEPTHS] for arm in ARMS}
    worst = min(cell["share"] for cell in by_depth["seefar"])
    far = [x for (a, n, _), xs in hits.items() if a == "seefar" and n in extra for x in xs]
    bars = {f"every depth, up to {max(lengths)} frames": {"at_least": BAR, "got": worst, "holds": worst >= BAR}}
    if far:
        share = score(sum(far), len(far))
        bars[f"{max(extra)} frames"] = {"at_least": BAR, "got": share["share"], "holds": share["share"] >= BAR}
    return {
        "budget": budget,
        "films of each length": films,
        "cells": cells,
        "by depth": by_depth,
        "bars": bars,
        "machine": machine(),
    }


def _haystack(folder: Path, frames: int, k: int) -> tuple[Path, list[dict[str, Any]]]:
    """A film with a photograph at each depth, and for each the question that asks for it."""
    seed = 5000 + k
    path = folder / f"haystack-{frames}-{k}.mp4"
    names = np.random.default_rng([frames, k]).permutation(list(PHOTOGRAPHS))[: len(DEPTHS)]
    flashes = [(str(name), float(round(depth * (frames - 1)))) for name, depth in zip(names, DEPTHS, strict=True)]
    story = write_story(seed, frames, photographs=flashes)
    truth = path.with_suffix(".json")
    if not truth.exists() or json.loads(truth.read_text())["seconds"] != frames:
        render_film(path, write_video, seed=seed, rate=1.0, story=story)
    asked = [q for q in ask_about(story, per_topic=len(DEPTHS)) if q.topic == "photograph"]
    depth_of = {f"{second:.2f}": depth for (_, second), depth in zip(flashes, DEPTHS, strict=True)}
    return path, [{"question": q.question, "answer": q.answer, "depth": depth_of[q.answer]} for q in asked]


def table(result: dict[str, Any]) -> str:
    """Shares by length, all depths together, a row for each arm."""
    lengths = sorted({cell["frames"] for cell in result["cells"]})
    lines = [
        "| | " + " | ".join(f"{n:,} frames" for n in lengths) + " | worst depth |",
        "|---|" + "---|" * (len(lengths) + 1),
    ]
    for arm, depths in result["by depth"].items():
        shares = []
        for n in lengths:
            found = [c for c in result["cells"] if c["arm"] == arm and c["frames"] == n]
            shares.append(f"{sum(c['share'] * c['n'] for c in found) / sum(c['n'] for c in found):.2f}")
        lines.append(f"| {arm} | " + " | ".join(shares) + f" | {min(d['share'] for d in depths):.2f} |")
    return "\n".join(lines)


def heatmap(result: dict[str, Any], path: str | Path) -> None:
    """Length against depth, one panel for each arm that looks, as a PNG."""
    shown = [arm for arm in ("seefar", "uniform frames") if arm in result["by depth"]]
    panels = {
        f"{arm}, {result['budget']:,} visual tokens": {
            (cell["frames"], cell["depth"]): cell["share"] for cell in result["cells"] if cell["arm"] == arm
        }
        for arm in shown
    }
    draw_heat(
        panels,
        path,
        title="One photograph flashed for one frame: found within two seconds, in % of questions",
        across="frames of film",
        down="depth of the needle",
    )
