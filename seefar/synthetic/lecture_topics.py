"""The subjects that rendered lectures and screen recordings are about, each with questions in other words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

SPLITS = ("calibration", "test")


@dataclass(frozen=True)
class Topic:
    """One subject and what can be asked about it.

    Args:
        kind: "talk" (a slide, an article or notes), "code" (typed in an editor) or "term" (a terminal session).
        title: heading, file name or window title.
        lines: the bullet points, the code, or commands (``$ ...``) with their output.
        questions: (line, question); line 0 asks about the whole, line k about ``lines[k - 1]``.
    """

    kind: str
    title: str
    lines: tuple[str, ...]
    questions: tuple[tuple[int, str], ...]


@cache
def topics(split: str) -> tuple[Topic, ...]:
    """Every topic of a split; "calibration" and "test" share none.

    Raises:
        ValueError: another split.
    """
    if split not in SPLITS:
        raise ValueError(f"topics: split must be one of {SPLITS}, got {split!r}")
    bank = _parse((Path(__file__).parent / "lecture_topics.txt").read_text(encoding="utf-8"))
    mine = []
    for kind in ("talk", "code", "term"):
        mine += [topic for topic in bank if topic.kind == kind][SPLITS.index(split) :: len(SPLITS)]
    return tuple(mine)


def _parse(text: str) -> list[Topic]:
    """The bank's own notation: ``# title`` or ``@ kind title``, ``- bullet`` or ``| code``, ``? line question``."""
    blocks: list[list[str]] = []
    for row in text.splitlines():
        if row.startswith(("# ", "@ ")):
            blocks.append([])
        blocks[-1].append(row)
    bank = []
    for head, *rows in blocks:
        kind, title = ("talk", head[2:]) if head.startswith("# ") else head[2:].split(" ", 1)
        lines = tuple(row[2:] for row in rows if row.startswith(("- ", "| ")))
        asked = [row[2:].split(" ", 1) for row in rows if row.startswith("? ")]
        bank.append(Topic(kind, title, lines, tuple((int(line), question) for line, question in asked)))
    return bank
