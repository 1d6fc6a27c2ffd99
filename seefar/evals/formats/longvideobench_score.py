"""How the two harnesses score LongVideoBench, to the last digit that they print, and the file of answers handed in.

Both read a letter from each answer, by other rules (`seefar.evals.metrics.choice_letter`); lmms-eval draws a letter
where there is none, VLMEvalKit counts a miss. Figures of two styles never share a table.

Reference: lmms-eval 75571cf, VLMEvalKit e8e78f0. Differs: in VLMEvalKit no judge model is asked (its
``exact_matching``); without one, its search for an option's text finds nothing, since its result file does not hold
the options.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seefar.evals.formats.longvideobench import CATEGORIES, GROUPS, LETTERS, STYLES, Item, known
from seefar.evals.metrics import choice_letter, without_reasoning


@dataclass(frozen=True)
class Report:
    """A score in one style.

    Args:
        accuracy: share of right answers; interval: its 95 % interval, the questions of one video being one case.
        by_group, by_category: shares, only of what has questions.
        unparsed: answers without a letter (lmms-eval draws one for them, VLMEvalKit counts them wrong).
        missing: questions without a prediction, counted wrong.
        table: what the harness itself writes, figures rounded and named as there: lmms-eval's counts every question
            twice in "Overall", VLMEvalKit's gives texts with "nan" in empty cells.
        styles: accuracy of the same answers in each style.
    """

    style: str
    accuracy: float
    interval: tuple[float, float]
    n: int
    by_group: Mapping[int, float]
    by_category: Mapping[str, float]
    unparsed: int
    missing: int
    table: Mapping[Any, Any]
    styles: Mapping[str, float]

    def __str__(self) -> str:
        low, high = self.interval
        rows = [f"LongVideoBench, style {self.style}: {self.accuracy:.4f} [{low:.4f}, {high:.4f}], n {self.n}"]
        rows += [f"  {group:>4} s  {share:.4f}" for group, share in self.by_group.items()]
        rows += [f"  without a letter {self.unparsed}, without a prediction {self.missing}"]
        if max(self.styles.values()) - min(self.styles.values()) > 0.005:
            rows += ["  the styles differ: " + ", ".join(f"{name} {share:.4f}" for name, share in self.styles.items())]
        return "\n".join(rows)


def score(items: Sequence[Item], predictions: Mapping[str, str], style: str = "lmms-eval", *, seed: int = 0) -> Report:
    """Score answers as a harness does.

    Args:
        items: with their answers; they may be a part of the set.
        predictions: generated text by id.
        style: one of ``STYLES``.
        seed: of the letters that lmms-eval draws, in the order of the items; 0 is its default, and equals it where
            nothing else draws between them.

    Raises:
        ValueError: no items, items without a key (see `submission`), or predictions for other ids.
    """
    known(style)
    if not items:
        raise ValueError("score: no items")
    _only_known(items, predictions)
    keyless = [item.id for item in items if item.answer is None]
    if keyless:
        raise ValueError(f"score: {len(keyless)} items have no key, such as {keyless[0]!r}: write submission(...)")
    marks = {name: _marks(items, predictions, name, seed) for name in STYLES}
    right, unparsed = marks[style]
    groups: dict[int, list[bool]] = {group: [] for group in GROUPS}
    categories: dict[str, list[bool]] = {category: [] for category in CATEGORIES}
    for item, hit in zip(items, right, strict=True):
        groups[item.group].append(hit)
        categories[item.category].append(hit)
    return Report(
        style=style,
        accuracy=sum(right) / len(right),
        interval=_interval([item.video for item in items], right),
        n=len(items),
        by_group={key: sum(hits) / len(hits) for key, hits in groups.items() if hits},
        by_category={key: sum(hits) / len(hits) for key, hits in categories.items() if hits},
        unparsed=unparsed,
        missing=sum(item.id not in predictions for item in items),
        table=(_lmms_table if style == "lmms-eval" else _vlm_table)(items, right),
        styles={name: sum(hits) / len(hits) for name, (hits, _) in marks.items()},
    )


def submission(items: Sequence[Item], predictions: Mapping[str, str], path: str | Path) -> Path:
    """Write the answers of the test split, {id: text}, as lmms-eval hands them in (its reasoning blocks dropped).

    Raises:
        ValueError: a question without a prediction, or predictions for other ids.
    """
    _only_known(items, predictions)
    missing = [item.id for item in items if item.id not in predictions]
    if missing:
        raise ValueError(f"submission: {len(missing)} questions have no prediction, such as {missing[0]!r}")
    path = Path(path)
    path.write_text(json.dumps({item.id: without_reasoning(predictions[item.id]) for item in items}), encoding="utf-8")
    return path


def _only_known(items: Sequence[Item], predictions: Mapping[str, str]) -> None:
    strange = sorted(set(predictions) - {item.id for item in items})
    if strange:
        raise ValueError(f"{len(strange)} predictions are for no question here, such as {strange[0]!r}")


def _marks(items: Sequence[Item], predictions: Mapping[str, str], style: str, seed: int) -> tuple[list[bool], int]:
    """Which answers are right, and how many had no letter."""
    draw = random.Random(seed)
    right, unparsed = [], 0
    for item in items:
        letter = None
        if item.id in predictions:
            letter = choice_letter(predictions[item.id], f"longvideobench/{style}")
            unparsed += letter is None
            if letter is None and style == "lmms-eval":
                letter = draw.choice(LETTERS[: len(item.options)])
        right.append(letter == item.answer)
    return right, unparsed


def _lmms_table(items: Sequence[Item], right: Sequence[bool]) -> dict[Any, dict[str, float]]:
    """Group and category rows in order of appearance; the overall mean is summed in lmms-eval's own order."""
    subsets: dict[Any, list[bool]] = {}
    for item, hit in zip(items, right, strict=True):
        subsets.setdefault(item.group, []).append(hit)
        subsets.setdefault(item.category, []).append(hit)
    shares = {name: sum(hits) / len(hits) for name, hits in subsets.items()}
    table = {name: {"num": len(hits), "acc": round(shares[name], 5)} for name, hits in subsets.items()}
    total = sum(len(hits) for hits in subsets.values())
    mean = sum(shares[name] * len(hits) for name, hits in subsets.items()) / total
    return table | {"Overall": {"num": total, "acc": round(mean, 5)}}


def _vlm_table(items: Sequence[Item], right: Sequence[bool]) -> dict[Any, dict[str, Any]]:
    """Duration by category, three decimals; an empty cell is "nan" and takes no part in the means."""

    def cell(group: int | None, category: str | None) -> str:
        hits = [
            hit
            for item, hit in zip(items, right, strict=True)
            if group in (None, item.group) and category in (None, item.category)
        ]
        return f"{sum(hits) / len(hits):.3f}" if hits else "nan"

    return {
        "overall" if group is None else group: {
            "overall": cell(group, None),
            "question_category": {category: cell(group, category) for category in CATEGORIES},
        }
        for group in (*GROUPS, None)
    }


def _interval(videos: Sequence[str], right: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of the mean with one residual a video (cluster-robust variance)."""
    mean = sum(right) / len(right)
    residual: dict[str, float] = {}
    for video, hit in zip(videos, right, strict=True):
        residual[video] = residual.get(video, 0.0) + hit - mean
    cases = len(residual)
    if cases < 2:
        return 0.0, 1.0
    spread = math.sqrt(cases / (cases - 1) * sum(value * value for value in residual.values())) / len(right)
    return max(0.0, mean - 1.96 * spread), min(1.0, mean + 1.96 * spread)
