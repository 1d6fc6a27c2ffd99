"""``seefar bench NAME``: figures to a file, a table to the terminal."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

from seefar.cli.terminal import aside, out, progress_bars
from seefar.evals.readme import MODULES


def run(name: str, folder: Path, quick: bool) -> None:
    """Runs one bench of ``seefar.evals`` and writes ``bench_<name>.json``; ``needle`` also paints its heat map."""
    module = import_module(f"seefar.evals.{MODULES[name]}")
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        result = module.run(quick=quick, progress=progress)
    file = folder / f"bench_{name}.json"
    file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    out().print(module.table(result), soft_wrap=True)
    if name == "needle":
        module.heatmap(result, folder / "needle.png")
        aside().print(f"picture: {folder / 'needle.png'}", style="dim", soft_wrap=True)
    aside().print(f"figures: {file}", style="dim", soft_wrap=True)
