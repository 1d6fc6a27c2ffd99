"""LongVideoBench as it is published: its files, its prompts, and the two ways in which its answers are scored.

Questions about a web video of up to an hour refer to a moment in it ("when the subtitle says ..."); subtitles stand
between the frames. Two harnesses score the same answers differently: they sample other frames, read the letter by
other rules and treat an answer without one differently, so every figure here carries the name of its style:
"lmms-eval" or "vlmevalkit".

Reference: Wu et al., arXiv 2407.15754; lmms-eval 75571cf; VLMEvalKit e8e78f0. Its experiment is
``seefar.papers.longvideobench``, a small set in the same format ``seefar.evals.formats.longvideobench_small``.
Scores: ``longvideobench_score``. Differs: of VLMEvalKit's samplings only that by count is here, not that by rate.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from seefar.evals.formats.tables import read_rows

STYLES = ("lmms-eval", "vlmevalkit")
GROUPS = (15, 60, 600, 3600)
"""Longest video of each group, in seconds."""
CATEGORIES = (
    "S2E", "S2O", "S2A", "E2O", "O2E", "T2E", "T2O", "T2A",
    "E3E", "O3O", "SSS", "SOS", "SAA", "T3E", "T3O", "TOS", "TAA",
)  # fmt: skip
"""What is asked about what: Scene, Event, Object, Text (a subtitle) and Attribute; the first eight are perception."""
FILES = {
    "validation": ("lvb_val.json", "validation-*.parquet", "LongVideoBench.tsv"),
    "test": ("lvb_test_wo_gt.json", "test-*.parquet"),
}
LETTERS = "ABCDE"
ASK = "Answer with the option's letter from the given choices directly."
_COLUMNS = ("id", "video_path", "question", "duration", "duration_group", "question_category")


@dataclass(frozen=True)
class Item:
    """A question.

    Args:
        video: file name, below ``videos/``; subtitles: file name, below ``subtitles/``, None where there are none.
        answer: letter of the right option, None in the test split, whose key is not published.
        group: one of ``GROUPS``; category: one of ``CATEGORIES``.
        duration: of the video, in seconds.
        offset: the second on the subtitles' clock at which the video begins.
        meta: the columns that nothing here reads.
    """

    id: str
    video: str
    question: str
    options: tuple[str, ...]
    answer: str | None
    group: int
    category: str
    duration: float
    offset: float = 0.0
    subtitles: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


class Line(NamedTuple):
    """A subtitle: seconds on its own clock, ``end`` None where the file leaves it open."""

    start: float
    end: float | None
    text: str


def load(path: str | Path, split: str = "validation") -> list[Item]:
    """The questions of a split, in their order.

    Args:
        path: the folder of the data set, or one file of it: .json, .jsonl, .parquet (needs pyarrow or pandas), or the
            .tsv that VLMEvalKit makes.
        split: "validation" or "test"; plays no part if ``path`` is a file.

    Raises:
        FileNotFoundError: the folder holds no file of the split.
        ImportError: a parquet file, and nothing that reads it is installed.
        ValueError: a column is missing, or a question contradicts itself.
    """
    path = _file(Path(path), split)
    rows = read_rows(path, _COLUMNS)
    if "candidates" not in rows[0] and "option0" not in rows[0]:
        raise ValueError(f"{path}: lacks the column candidates, and option0 to option4; it has {sorted(rows[0])}")
    items = [_item(path, row) for row in rows]
    twice = len(items) - len({item.id for item in items})
    if twice:
        raise ValueError(f"{path}: {twice} questions have the id of another one; predictions could not be told apart")
    return items


def subtitles(root: str | Path, item: Item) -> list[Line]:
    """The subtitles of a question's video, from either of the two layouts that the files have.

    Raises:
        FileNotFoundError: they are not there, although the item names them or interleaving needs them.
    """
    path = Path(root) / "subtitles" / (item.subtitles or "")
    if not path.is_file():
        raise FileNotFoundError(
            f"{item.id}: no subtitles at {path}: unpack subtitles.tar there, or make the prompt without lines"
        )
    return [_line(record) for record in json.loads(path.read_text(encoding="utf-8"))]


def frame_indices(style: str, most: int, *, duration: float, fps: float, frames: int | None = None) -> list[int]:
    """Positions of the frames that a harness decodes.

    "lmms-eval": n = min(most, whole seconds), frame i is ``int(int(duration * fps) / n) * i``; the step is floored
    before it is multiplied, so that the end of the video may never be seen. "vlmevalkit": ``int(i * frames / (most +
    1))`` for i = 1 ... most.

    Args:
        style: one of ``STYLES``.
        most: frames asked for (lmms-eval: 16, VLMEvalKit: 8 or 64).
        duration: as the data set tells it, in seconds; only lmms-eval reads it.
        fps: the average rate of the file.
        frames: of the file; only VLMEvalKit reads it, and needs it.
    """
    known(style)
    if most < 1:
        raise ValueError(f"frame_indices: at least one frame must be asked for, got {most}")
    if style == "lmms-eval":
        count = min(most, int(duration))
        if count < 1:
            raise ValueError(f"frame_indices: lmms-eval takes a frame a second at most; {duration} s gives none")
        return [int(int(duration * fps) / count) * i for i in range(count)]
    if frames is None:
        raise ValueError("frame_indices: VLMEvalKit counts the frames of the file, pass frames=")
    step = frames / (most + 1)
    return [int(i * step) for i in range(1, most + 1)]


def frame_times(
    style: str, most: int, *, duration: float, fps: float | None = None, frames: int | None = None
) -> list[float]:
    """Seconds at which a harness believes its frames to stand when it puts subtitles between them.

    "lmms-eval": i * duration / most in a video longer than ``most`` seconds, else the whole seconds; these are not the
    times of the frames that it decodes. "vlmevalkit": index over rate. Arguments as in `frame_indices`.
    """
    known(style)
    if style == "lmms-eval":
        return (
            [duration / most * i for i in range(most)] if duration > most else [float(i) for i in range(int(duration))]
        )
    if fps is None:
        raise ValueError("frame_times: VLMEvalKit divides by the rate of the file, pass fps= and frames=")
    return [index / fps for index in frame_indices(style, most, duration=duration, fps=fps, frames=frames)]


def interleave(lines: Iterable[Line], times: Sequence[float], *, offset: float, duration: float) -> list[int | str]:
    """Frames (their numbers) and subtitles in one row, as both harnesses lay them out.

    A line lies at the middle of its time, after all frames up to then. It is kept only if a frame stands strictly
    inside its time, which for a line of less than a second is taken as the middle +- 0.5 s. An open end is the
    duration of the video, less the offset like every time.

    Args:
        lines: on the subtitles' own clock, in their order.
        times: of the frames, rising, in seconds of the video.
        offset: the second on the subtitles' clock at which the video begins.
        duration: of the video, in seconds.
    """
    row: list[int | str] = []
    placed = 0
    for line in lines:
        start = line.start - offset
        end = (duration if line.end is None else line.end) - offset
        middle = (start + end) / 2
        while placed < len(times) and times[placed] <= middle:
            row.append(placed)
            placed += 1
        if end - start < 1:
            start, end = middle - 0.5, middle + 0.5
        if any(start < time < end for time in times):
            row.append(line.text)
    return row + list(range(placed, len(times)))


def prompt(item: Item, style: str, times: Sequence[float] = (), lines: Iterable[Line] | None = None) -> list[int | str]:
    """What a model is given: numbers of frames, and texts with the line breaks of the harness.

    Without lines the frames come first and the last part is the question, as lmms-eval sends it beside the video.

    Args:
        item: the question.
        style: one of ``STYLES``.
        times: of the frames, see `frame_times`.
        lines: subtitles to put between the frames; None for the form without them.
    """
    known(style)
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, item.options, strict=False))
    asked = f"{item.question}\n{options}\n{ASK}"
    if style == "lmms-eval":
        asked += "\n"
    if lines is None:
        return [*range(len(times)), asked]
    row = interleave(lines, times, offset=item.offset, duration=item.duration)
    if style == "vlmevalkit":
        return [part if isinstance(part, int) else part + "\n" for part in row] + [asked]
    parts: list[int | str] = []
    for part in row:
        parts += [part, "\n"]
    return [*parts, asked] if parts else ["\n" + asked]


def as_text(parts: Iterable[int | str], image: str = "<image>") -> str:
    """A prompt as one text, with a mark for each frame."""
    return "".join(image if isinstance(part, int) else part for part in parts)


def known(style: str) -> None:
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")


def _file(path: Path, split: str) -> Path:
    if split not in FILES:
        raise ValueError(f"load: split must be one of {', '.join(FILES)}, got {split!r}")
    if path.is_file():
        return path
    found = [file for name in FILES[split] for folder in (path, path / "data") for file in sorted(folder.glob(name))]
    if not found:
        raise FileNotFoundError(f"load: {path} holds none of {', '.join(FILES[split])}")
    return found[0]


def _item(path: Path, row: dict[str, Any]) -> Item:
    where = f"{path.name}, question {row['id']}"
    options = _options(where, row)
    if not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"{where}: has {len(options)} options, expected 2 to {len(LETTERS)}: {options}")
    key = row.get("correct_choice")
    choice = -1 if key in (None, "") or key != key else int(key)  # pandas writes what is missing as NaN
    if not -1 <= choice < len(options):
        raise ValueError(f"{where}: correct_choice {choice} names none of its {len(options)} options (0 is the first)")
    group, category = int(row["duration_group"]), str(row["question_category"])
    if group not in GROUPS or category not in CATEGORIES:
        raise ValueError(f"{where}: duration_group {group} of {GROUPS}, question_category {category!r} of {CATEGORIES}")
    read = {*_COLUMNS, "candidates", "correct_choice", "subtitle_path", "starting_timestamp_for_subtitles"}
    read |= {f"option{i}" for i in range(len(LETTERS))}
    return Item(
        id=str(row["id"]),
        video=str(row["video_path"]).removeprefix("./videos/"),  # the harness's own tsv names the folder
        question=str(row["question"]),
        options=options,
        answer=None if choice < 0 else LETTERS[choice],
        group=group,
        category=category,
        duration=float(row["duration"]),
        offset=float(row.get("starting_timestamp_for_subtitles") or 0),
        subtitles=row.get("subtitle_path") or None,
        meta={name: value for name, value in row.items() if name not in read},
    )


def _options(where: str, row: dict[str, Any]) -> tuple[str, ...]:
    """From a list, from a list written as text (tsv), or from five columns in which "N/A" means none."""
    if "candidates" not in row:
        columns = [row.get(f"option{i}") for i in range(len(LETTERS))]
        return tuple(str(option) for option in columns if option not in (None, "N/A"))
    given = row["candidates"]
    if isinstance(given, str):
        try:
            given = ast.literal_eval(given)
        except (ValueError, SyntaxError):
            given = None
    if not isinstance(given, list | tuple):
        raise ValueError(f"{where}: candidates must be a list, or a list written as text, got {row['candidates']!r}")
    return tuple(str(option) for option in given)


def _line(record: dict[str, Any]) -> Line:
    if "timestamp" in record:
        start, end = record["timestamp"]
        return Line(float(start), end if isinstance(end, float) else None, record["text"])
    return Line(_clock(record["start"]), _clock(record["end"]), record["line"])


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
