"""Writes the figures of results/ into README.md and pages of docs/, between the marks that ask for them.

A block looks like this, and everything between its marks is replaced::

    <!-- bench:ask -->
    <!-- /bench -->
"""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = {
    "ask": "ask",
    "needle": "needle",
    "read": "read",
    "ops": "bench_ops",
    "ingest": "bench_ingest",
    "layers": "bench_layers",
    "forms": "bench_forms",
    "convs": "bench_convs",
    "decode": "bench_decode",
    "mixers": "bench_mixers",
}
"""Name of a bench -> the file of this room that runs it and prints its table."""
TABLES = {name: f"seefar.evals.{file}" for name, file in MODULES.items()} | {"pico": "seefar.training.pico"}
"""Name of a block -> the module whose ``table`` prints it."""

BLOCK = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def render(text: str, results: Path) -> str:
    """The text with every block filled from ``results/bench_<name>.json``, that of pico from ``results/pico.json``.

    Raises:
        ValueError: a block names no bench.
    """

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ValueError(f"README: unknown bench {name!r}, expected one of {sorted(TABLES)}")
        file = results / ("pico.json" if name == "pico" else f"bench_{name}.json")
        body = _table(name, json.loads(file.read_text())) if file.is_file() else f"Not run yet: `{_command(name)}`."
        return f"{match[1]}{body}\n{match[3]}"

    return BLOCK.sub(fill, text)


def _table(name: str, result: dict[str, Any]) -> str:
    table = _table_of(name, result).strip("\n")
    markdown = any(line.startswith("|") for line in table.splitlines())
    drawn = getattr(import_module(TABLES[name]), "PICTURES", {})
    pictures = "".join(f"\n\n![{title}]({name}-{picture}.svg)" for picture, title in drawn.items())
    return (table if markdown else f"```text\n{table}\n```") + f"{pictures}\n\nBy `{_command(name)}`."


def _command(name: str) -> str:
    return "make pico" if name == "pico" else f"seefar bench {name}"


def _table_of(name: str, result: dict[str, Any]) -> str:
    return str(import_module(TABLES[name]).table(result))


def main(*paths: str, results: str | Path = "results") -> None:
    """Rewrites pages in place, and draws the pictures that their benches have, beside them."""
    for file in map(Path, paths):
        text = file.read_text(encoding="utf-8")
        file.write_text(render(text, Path(results)), encoding="utf-8")
        for name in BLOCK.finditer(text):
            figures = Path(results) / f"bench_{name['name']}.json"
            module = import_module(TABLES[name["name"]])
            if hasattr(module, "draw") and figures.is_file():
                module.draw(json.loads(figures.read_text()), file.parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
