"""The pages about papers, made from cards, imports and result files: ``python -m seefar.papers._pages``.

``docs/papers.md`` is the table of all, ``docs/papers/<slug>.md`` a page each with its curves as pictures beside it,
``docs/parts.md`` the index from parts to papers, and the counts go into README.md.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from seefar.evals.report import draw_curves, drawable, table
from seefar.papers._card import Paper, built, load, seeds
from seefar.papers._parts import Part, parts
from seefar.papers._results import State, describe, state

STATES = ("holds", "partly", "fails", "not run", "not built")
MADE = "Made by `make papers`; do not edit."


def pages(results: Path) -> dict[str, str]:
    """Every page by its path below ``docs/``."""
    states = {seed.slug: state(seed, results) for seed in seeds()}
    made = {"papers.md": _table(states), "parts.md": _index()}
    for paper in built():
        made[f"papers/{paper.seed.slug}.md"] = _page(paper, states[paper.seed.slug])
    return made


def counts(results: Path) -> str:
    """How many papers are in each state, as one line."""
    found = Counter(state(seed, results).word for seed in seeds())
    return ", ".join(f"{found[word]} {word}" for word in STATES if found[word])


def write(docs: Path, results: Path) -> None:
    """Write every page and its pictures, and remove those of papers that are gone."""
    (docs / "papers").mkdir(parents=True, exist_ok=True)
    made = pages(results)
    drawn = {
        picture: (title, arms)
        for paper in built()
        if (result := state(paper.seed, results).result) is not None
        for title, arms, picture in _pictures(paper.seed.slug, result)
    }
    for old in (docs / "papers").iterdir():
        if f"papers/{old.name}" not in made and old.name not in drawn:
            old.unlink()
    for name, text in made.items():
        (docs / name).write_text(text)
    for picture, (title, arms) in drawn.items():
        draw_curves(arms, docs / "papers" / picture, title=title)


def _pictures(slug: str, result: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """(title, curves, file name) of what is worth drawing in a result."""
    figures = enumerate(result["figures"].items())
    return [(title, arms, f"{slug}-{n}.svg") for n, (title, arms) in figures if drawable(arms)]


def _table(states: dict[str, State]) -> str:
    rows = []
    for seed in seeds():
        name = f"[{seed.slug}](papers/{seed.slug}.md)" if seed.built else seed.slug
        link = f"[{seed.arxiv}](https://arxiv.org/abs/{seed.arxiv})"
        rows.append(
            f"| {seed.number} | {name} | {seed.title} | {seed.kind} | {seed.room} | {link} | {states[seed.slug]} |"
        )
    total = Counter(each.word for each in states.values())
    line = ", ".join(f"{total[word]} {word}" for word in STATES if total[word])
    head = "| | paper | title | kind | room | arXiv | state |\n|---|---|---|---|---|---|---|"
    return f"# All papers\n\n{MADE}\n\n{len(states)} papers: {line}.\n\n{head}\n" + "\n".join(rows) + "\n"


def _index() -> str:
    """From every part to the papers that are made of it."""
    users: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for paper in built():
        for part in parts(paper.path):
            users[part.room][_name(part)].add(paper.seed.slug)
    lines = ["# From parts to papers", "", MADE]
    for room in sorted(users):
        lines += ["", f"## {room}", ""]
        for name, slugs in sorted(users[room].items()):
            lines.append(f"- {name}: " + ", ".join(f"[{slug}](papers/{slug}.md)" for slug in sorted(slugs)))
    return "\n".join(lines) + "\n"


def _page(paper: Paper, now: State) -> str:
    card, seed = paper.card, paper.seed
    doc = (paper.module.__doc__ or "").strip()
    code = f"[{card.code}](https://github.com/{card.code})" if card.code else "none released"
    lines = [
        f"# {card.title}",
        "",
        MADE,
        "",
        f"`seefar paper show {seed.slug}`, [seefar/papers/{seed.file}.py](../../seefar/papers/{seed.file}.py), "
        f"[arXiv {card.arxiv}](https://arxiv.org/abs/{card.arxiv}), code: {code}",
        "",
        doc,
        "",
        "## Parts",
        "",
        *(f"- {_name(part)} in [seefar/{part.file}](../../seefar/{part.file})" for part in parts(paper.path)),
        "",
        "## Claim",
        "",
        f"- published: {card.published}",
        f"- holds when: {card.holds_when}",
        f"- control: {card.control}",
        f"- verdict: **{now}**",
    ]
    if now.result is not None:
        pictures = {title: picture for title, _, picture in _pictures(seed.slug, now.result)}
        lines += _found(now.result, pictures)
    return "\n".join(lines) + "\n"


def _found(result: dict[str, Any], pictures: dict[str, str] | None = None) -> list[str]:
    """Bars, controls and figures of a result, those that have a picture with it."""
    good = {True: "reached", False: "MISSED"}
    short = {True: "falls short, as it must", False: "PASSES, as it must not"}
    lines = [f"- run at scale {result['scale']}, seeds {result['seeds']}, {result['seconds']:g} s"]
    lines += [f"- note: {result['note']}"] if result["note"] else []
    lines += ["", "| bar | |", "|---|---|"]
    lines += [f"| {name} | {good[held]} |" for name, held in result["checks"].items()]
    lines += [f"| control: {name} | {short[fell]} |" for name, fell in result["controls fall short"].items()]
    for title, arms in result["figures"].items():
        lines += ["", f"### {title}", ""]
        if pictures and title in pictures:
            lines += [f"![{title}]({pictures[title]})", ""]
        lines += table(arms)
    return lines


def _name(part: Part) -> str:
    return f"`{part.name}`" if part.name else f"`{part.file.removesuffix('.py').removesuffix('/__init__')}`"


def show(slug: str, results: Path) -> str:
    """Card, parts, file and result of a paper, for the terminal."""
    paper = load(slug)
    now = state(paper.seed, results)
    card = paper.card
    lines = [
        f"{card.title} (paper {card.number}, {paper.seed.kind}, room {paper.seed.room}, arXiv {card.arxiv})",
        describe(paper),
        f"file       seefar/papers/{paper.seed.file}.py",
        "parts      "
        + ", ".join(f"{part.file.removesuffix('.py')}{':' * bool(part.name)}{part.name}" for part in parts(paper.path)),
        f"published  {card.published}",
        f"holds when {card.holds_when}",
        f"control    {card.control}",
        f"verdict    {now}",
    ]
    return "\n".join(lines + (_found(now.result) if now.result else [])) + "\n"


def fill(readme: str, results: Path) -> str:
    """A README with the counts between its marks ``<!-- papers -->`` and ``<!-- /papers -->``."""
    line = (
        f"{len(seeds())} papers: {counts(results)}. [The table](docs/papers.md), [from parts to papers](docs/parts.md)."
    )
    return re.sub(r"(<!-- papers -->\n).*?(<!-- /papers -->)", rf"\g<1>{line}\n\g<2>", readme, flags=re.DOTALL)


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    write(root / "docs", root / "results")
    (root / "README.md").write_text(fill((root / "README.md").read_text(), root / "results"))
