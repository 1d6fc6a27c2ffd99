"""What ``seefar paper`` prints."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import typer

from seefar.cli.terminal import progress_bars
from seefar.papers._card import seeds
from seefar.papers._pages import show
from seefar.papers._results import run_claim, state


def listing(results: Path, *, only_built: bool, as_json: bool) -> str:
    """All papers as lines, or as one JSON object."""
    rows = [(seed, state(seed, results)) for seed in seeds() if seed.built or not only_built]
    if as_json:
        table = [
            {
                "number": seed.number,
                "slug": seed.slug,
                "title": seed.title,
                "kind": seed.kind,
                "room": seed.room,
                "arxiv": seed.arxiv,
                "state": now.word,
                "stale": now.stale,
            }
            for seed, now in rows
        ]
        return json.dumps({"papers": table}, ensure_ascii=False)
    lines = [f"{s.number:>3}  {s.slug:<24} {s.kind:<15} {s.room:<11} {now!s:<15} {s.title}" for s, now in rows]
    total = Counter(now.word for _, now in rows)
    return "\n".join([*lines, "", ", ".join(f"{count} {word}" for word, count in total.most_common())])


def claim(slug: str, scale: str, results: Path) -> None:
    """Run a claim with a progress bar, and print what it found."""
    with progress_bars() as progress:
        run_claim(slug, scale, results=results, progress=progress)
    typer.echo(show(slug, results))
