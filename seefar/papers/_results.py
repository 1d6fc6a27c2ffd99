"""What claims have found: run, written to ``results/<slug>.json``, read back, and known to be stale when code moves."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seefar.evals.metrics import machine
from seefar.papers._card import Paper, Scale, Seed, load
from seefar.papers._parts import fingerprint

TRIALS = Path("build/claims")
"""Where a claim keeps its finished trials while it runs."""


@dataclass(frozen=True)
class State:
    """Where a paper stands.

    Args:
        word: "holds", "partly", "fails", "not run", or "not built".
        stale: the code has changed since the result was written.
        result: what the result file holds, None where there is none.
    """

    word: str
    stale: bool = False
    result: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.word} (stale)" if self.stale else self.word


def state(seed: Seed, results: Path = Path("results")) -> State:
    """What is known of a paper, from its result file and its code; a result at ``smoke`` scale counts as not run."""
    if not seed.built:
        return State("not built")
    path = results / f"{seed.slug}.json"
    if not path.exists():
        return State("not run")
    result: dict[str, Any] = json.loads(path.read_text())
    if result["scale"] == "smoke":
        return State("not run")
    return State(result["verdict"], result["fingerprint"] != fingerprint(load(seed.slug).path), result)


def run_claim(
    slug: str,
    scale: str = "cpu",
    *,
    results: Path = Path("results"),
    trials: Path = TRIALS,
    seeds: tuple[int, ...] = (0, 1, 2),
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Run a paper's experiment and write its result; one that was stopped goes on with the trials it has.

    Args:
        slug: of the paper.
        scale: "smoke", "cpu" or "gpu".
        results: folder of the result files.
        trials: folder of unfinished experiments; kept apart by the fingerprint of their code, emptied at the end.
        seeds: one run of every arm each; "smoke" runs the first alone.
        progress: called as the work goes on.

    Raises:
        ValueError: no such paper or scale, or the paper is not built yet.
    """
    paper = load(slug)
    code = fingerprint(paper.path)
    folder = trials / f"{paper.seed.slug}-{scale}-{code}"
    size = Scale(scale, seeds[:1] if scale == "smoke" else seeds, folder, progress)
    began = time.perf_counter()
    verdict = paper.claim(size)
    result = {
        "paper": paper.seed.slug,
        "number": paper.card.number,
        "title": paper.card.title,
        "published": paper.card.published,
        "holds when": paper.card.holds_when,
        "control": paper.card.control,
        "verdict": verdict.state,
        "checks": dict(verdict.checks),
        "controls fall short": dict(verdict.controls),
        "note": verdict.note,
        "figures": dict(verdict.figures),
        "scale": scale,
        "seeds": list(size.seeds),
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
        "fingerprint": code,
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{paper.seed.slug}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    return result


def describe(paper: Paper) -> str:
    """The first sentence of a paper's file."""
    return (paper.module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
