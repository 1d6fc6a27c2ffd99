"""A small set in the format of LongVideoBench, made of our own stories: for trying a harness without the data set.

Films of 15, 60, 600 and 3600 seconds, each said to be cut out of a longer one: the subtitles are those of the longer
one, on its clock, so that the offset matters, as it does in the published files.

Reference: Wu et al., arXiv 2407.15754. Differs: questions are written by rules, in nine of the seventeen categories;
the topic category is our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seefar.evals.formats.longvideobench import CATEGORIES, FILES, GROUPS
from seefar.media.write import write_video
from seefar.synthetic.film import frames
from seefar.synthetic.referring import Choice, Said, narrate, refer, write_clip
from seefar.synthetic.story import Story

RATE = 4.0
"""Frames a second of the films."""
FILMS = {15: 4, 60: 4, 600: 2, 3600: 1}


@dataclass(frozen=True)
class Film:
    """What a film of the set shows and what is asked about it, by the id of the question."""

    id: str
    group: int
    story: Story
    questions: Mapping[str, Choice]


def write_small(
    folder: str | Path,
    *,
    seed: int = 0,
    films: Mapping[int, int] = FILMS,
    split: str = "validation",
    per_topic: int = 2,
    render: bool = False,
    size: tuple[int, int] = (360, 640),
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[Film]:
    """Write ``lvb_val.json`` (or the keyless ``lvb_test_wo_gt.json``) and ``subtitles/``, and tell what is shown.

    Half of the subtitle files are in each of the two published layouts, and of one of them the last line has no end.

    Args:
        folder: where to.
        seed: decides everything; the two splits share no film.
        films: how many of each group.
        split: "validation" or "test".
        per_topic: questions of a kind about a film, at most.
        render: also draw ``videos/``; without it there is only the truth, which scoring does not miss.
        size: (height, width) of the drawn frames.
        progress: called as ``progress("films", done, all)``.
    """
    if split not in FILES or not set(films) <= set(GROUPS):
        raise ValueError(f"write_small: split of {', '.join(FILES)}, groups of {GROUPS}; got {split!r}, {list(films)}")
    folder = Path(folder)
    (folder / "subtitles").mkdir(parents=True, exist_ok=True)
    made: list[Film] = []
    rows: list[dict[str, Any]] = []
    plan = [(group, number) for group, count in films.items() for number in range(count)]
    for done, (group, number) in enumerate(plan):
        rng = np.random.default_rng([seed, list(FILES).index(split), group, number])
        story = write_clip(int(rng.integers(1 << 30)), group)
        said, offset = narrate(story), round(float(rng.uniform(5, 55)), 2)
        name = f"{split}-{seed}-{group}-{number}"
        asked = {f"{name}_{n}": choice for n, choice in enumerate(refer(story, said, per_topic=per_topic))}
        made.append(Film(name, group, story, asked))
        rows += [_row(key, name, choice, group, offset, split == "validation") for key, choice in asked.items()]
        track = _clocks(said, offset) if number % 2 else _stamps(said, offset)
        (folder / "subtitles" / f"{name}_en.json").write_text(json.dumps(track), encoding="utf-8")
        if render:
            (folder / "videos").mkdir(exist_ok=True)
            pictures = frames(story, rate=RATE, height=size[0], width=size[1])
            write_video(folder / "videos" / f"{name}.mp4", pictures, RATE)
        if progress is not None:
            progress("films", done + 1, len(plan))
    (folder / FILES[split][0]).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return made


def _row(key: str, name: str, choice: Choice, group: int, offset: float, keyed: bool) -> dict[str, Any]:
    """A record with the published columns in the published order."""
    moments = sorted(evidence.shown for seen in choice.evidence for evidence in seen)
    row = {
        "video_id": name,
        "question": choice.question,
        "question_wo_referring_query": choice.question.removeprefix(choice.query).lstrip(", "),
        "candidates": list(choice.options),
        "correct_choice": choice.answer,
        "position": [round((start + end) / 2 * RATE) for start, end in moments],
        "topic_category": "Synthetic-Stories",
        "question_category": choice.category,
        "level": "L1-Perception" if CATEGORIES.index(choice.category) < 8 else "L2-Relation",
        "id": key,
        "video_path": f"{name}.mp4",
        "subtitle_path": f"{name}_en.json",
        "duration_group": group,
        "starting_timestamp_for_subtitles": offset,
        "duration": float(group),
        "view_count": 0,
    }
    return row if keyed else {column: value for column, value in row.items() if column != "correct_choice"}


def _heard(said: Sequence[Said], offset: float) -> list[tuple[float, float, str]]:
    """The lines on the longer film's clock, which begins at 0."""
    return [(line.start + offset, line.end + offset, line.text) for line in said if line.start + offset >= 0]


def _stamps(said: Sequence[Said], offset: float) -> list[dict[str, Any]]:
    track = [{"timestamp": [round(a, 2), round(b, 2)], "text": text} for a, b, text in _heard(said, offset)]
    track[-1]["timestamp"][1] = None  # type: ignore[index]
    return track


def _clocks(said: Sequence[Said], offset: float) -> list[dict[str, Any]]:
    return [{"start": _clock(a), "end": _clock(b), "line": text} for a, b, text in _heard(said, offset)]


def _clock(second: float) -> str:
    minutes, seconds = divmod(round(second * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds / 1000:06.3f}"
