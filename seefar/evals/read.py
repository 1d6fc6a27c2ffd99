"""How well the reader finds moments by their words in rendered hour-long lectures and screen recordings.

Four things are promised and measured on subjects that took no part in the calibration: the moment within two seconds,
"not found" where a subject is absent, few frames read, and the time that an hour of film takes. Two controls must
fail: the questions of one film asked of another, and the same film with its words blurred away.
"""

from __future__ import annotations

import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seefar import media
from seefar.media import Video, write_video
from seefar.media.sample import Sampling
from seefar.sequence import Clip
from seefar.synthetic.lecture import lecture_truth, render_lecture
from seefar.vlm.answer import Answer, Progress
from seefar.vlm.passages import Passages
from seefar.vlm.reader import Reader, Script

FILMS = (("lecture", 201), ("screen", 202), ("lecture", 203), ("screen", 204))
CALIBRATION = (("lecture", 11), ("screen", 12), ("lecture", 13), ("screen", 14))
BARS = {"moment": 0.95, "not found": 0.95, "frames read": 0.05, "seconds an hour": 180.0, "control": 0.2}
WITHIN = 2.0  # seconds


def run(
    films: Sequence[tuple[str, int]] = FILMS,
    *,
    minutes: float = 60.0,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Render, read and ask the films; everything that `table` shows, as plain numbers.

    A moment is right when the answer's first moment begins within two seconds of the stretch in which the asked words
    come into view (or are said) for the first time: one instant on a finished slide, the seconds of typing in an
    editor.

    Args:
        films: (kind, seed) of each, from the "test" split.
        minutes: the length of each film.
        folder: where the films are kept, and taken from where they are there already; None draws them anew and
            throws them away.
        progress: see `seefar.vlm.answer.Progress`.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(folder or temporary)
        reader = Reader(threads=2)
        rows, scripts, truths = [], [], []
        for kind, seed in films:
            path = home / f"{kind}-{seed}.mp4"
            if path.exists():
                truth = lecture_truth(seed, minutes, kind, split="test")
            else:
                truth = render_lecture(path, write_video, seed, minutes, kind, split="test", progress=progress)
            row, script = _film(reader, path, truth, progress)
            rows.append(row)
            scripts.append(script)
            truths.append(truth)
        controls = _controls(reader, home, films, scripts, truths)
    total = {
        "questions": sum(row["questions"] for row in rows),
        "moment": _share(sum(row["right"] for row in rows), sum(row["questions"] for row in rows)),
        "absent": sum(row["absent"] for row in rows),
        "not found": _share(sum(row["refused"] for row in rows), sum(row["absent"] for row in rows)),
        "frames read": max(row["read"] / row["frames"] for row in rows),
        "seconds an hour": max(row["seconds an hour"] for row in rows),
    }
    verdicts = {
        "moment": total["moment"]["share"] >= BARS["moment"],
        "not found": total["not found"]["share"] >= BARS["not found"],
        "frames read": total["frames read"] <= BARS["frames read"],
        "seconds an hour": total["seconds an hour"] <= BARS["seconds an hour"],
        "controls fail": all(share <= BARS["control"] for share in controls.values()),
    }
    return {
        "bars": BARS,
        "within": WITHIN,
        "minutes": minutes,
        "films": rows,
        "total": total,
        "controls": controls,
        "verdicts": verdicts,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()[0]},
        "seconds": time.perf_counter() - began,
    }


def table(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    head = f"{'film':<14}{'moment':>12}{'not found':>12}{'read':>12}{'s an hour':>11}{'cpu s':>8}"
    rows = [head]
    for row in result["films"]:
        shares = (("right", "questions"), ("refused", "absent"), ("read", "frames"))
        middle = "".join(f"{row[part]:>6}/{row[whole]:<5}" for part, whole in shares)
        name = f"{row['kind']} {row['seed']}"
        rows.append(f"{name:<14}{middle}{row['seconds an hour']:>11.0f}{row['cpu seconds']:>8.0f}")
    total, bars, good = result["total"], result["bars"], {True: "holds", False: "FAILS"}
    for name in ("moment", "not found"):
        share = total[name]
        rows.append(
            f"{name}: {share['share']:.3f} [{share['low']:.3f}, {share['high']:.3f}], bar >= {bars[name]}: "
            f"{good[result['verdicts'][name]]}"
        )
    for name in ("frames read", "seconds an hour"):
        rows.append(f"{name}: {total[name]:.3g} at most, bar <= {bars[name]:g}: {good[result['verdicts'][name]]}")
    arms = ", ".join(f"{name} {share:.2f}" for name, share in result["controls"].items())
    rows.append(
        f"controls, moment right: {arms}, bar <= {bars['control']}: {good[result['verdicts']['controls fail']]}"
    )
    return "\n".join(rows)


def calibrate(films: Sequence[tuple[str, int]] = CALIBRATION, *, minutes: float = 60.0) -> dict[str, float]:
    """What `seefar.vlm.passages` holds as LEXICAL and FOUND, from films of the "calibration" split.

    The slope is that of a logistic function of the score, fitted by Newton's method with present and absent questions
    weighing the same. The weight and the offset are those that make the lesser of two shares largest: present questions
    led to the right page and found, absent ones refused.
    """
    reader = Reader(threads=2)
    cases: list[tuple[np.ndarray, np.ndarray | None]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind, seed in films:
            path = Path(temporary) / f"{kind}-{seed}.mp4"
            truth = render_lecture(path, write_video, seed, minutes, kind, split="calibration")
            cases += evidence(reader, reader.read(media.open(path)), truth)
    return fit(cases)


def evidence(reader: Reader, script: Script, truth: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """For each question the features of the film's pages, and which are right; None where the subject is absent."""
    passages = Passages(script.pages, reader.encoder)
    cases: list[tuple[np.ndarray, np.ndarray | None]] = []
    for row in truth["questions"]:
        starts = [[line.start for line in page.lines] for page in script.pages]
        right = [any(_near(start, row) for start in each) for each in starts]
        cases.append((passages.features(row["question"]), np.array(right)))
    return cases + [(passages.features(row["question"]), None) for row in truth["absent"]]


def fit(cases: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> dict[str, float]:
    """The weight and the logistic function that serve these cases best, see `calibrate`."""
    found: list[tuple[float, float, float, float]] = []
    present = np.array([known is not None for _, known in cases])
    for lexical in np.arange(0.0, 0.81, 0.1).tolist():
        scores = [features @ np.array([1.0, lexical]) for features, _ in cases]
        tops = np.array([each.max() for each in scores])
        right = [
            known is not None and bool(known[each.argmax()]) for each, (_, known) in zip(scores, cases, strict=True)
        ]
        levels = np.sort(tops)
        levels = (levels[1:] + levels[:-1]) / 2
        led = np.array([np.mean(((tops > level) & right)[present]) for level in levels])
        refused = np.array([np.mean((tops <= level)[~present]) for level in levels])
        lesser = np.minimum(led, refused)
        level = float(levels[np.isclose(lesser, lesser.max())].mean())
        found.append((float(lesser.max()), -lexical, level, _slope(tops, present)))
    good, lexical, level, slope = max(found)
    return {"LEXICAL": -lexical, "FOUND offset": -slope * level, "FOUND slope": slope, "lesser share right": good}


def _film(
    reader: Reader, path: Path, truth: dict[str, Any], progress: Progress | None
) -> tuple[dict[str, Any], Script]:
    """The figures of one film, and its words."""
    started, used = time.perf_counter(), time.process_time()
    script = reader.read(media.open(path), progress=progress)
    answers = reader.reply(script, [row["question"] for row in truth["questions"] + truth["absent"]])
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    asked, absent = answers[: len(truth["questions"])], answers[len(truth["questions"]) :]
    right = [_right(answer, row) for answer, row in zip(asked, truth["questions"], strict=True)]
    misses = [
        {
            "question": row["question"],
            "start": row["start"],
            "got": answer.moments[0].start if answer.moments else None,
            "quoted": answer.moments[0].text if answer.moments else "",
        }
        for answer, row, good in zip(asked, truth["questions"], right, strict=True)
        if not good
    ]
    false_finds = [
        {"question": answer.question, "quoted": answer.moments[0].text, "chance": answer.moments[0].score}
        for answer in absent
        if answer.moments
    ]
    return {
        "kind": truth["kind"],
        "seed": truth["seed"],
        "questions": len(asked),
        "right": sum(right),
        "absent": len(absent),
        "refused": sum(not answer.moments for answer in absent),
        "frames": script.frames_seen,
        "read": len(script.looked),
        "words": script.words,
        "seconds": seconds,
        "seconds an hour": seconds * 3600 / truth["seconds"],
        "cpu seconds": cpu,
        "stages": script.seconds,
        "load": os.getloadavg()[0],
        "misses": misses,
        "false finds": false_finds,
        "warnings": script.warnings,
    }, script


def _controls(
    reader: Reader, home: Path, films: Sequence[tuple[str, int]], scripts: list[Script], truths: list[dict[str, Any]]
) -> dict[str, float]:
    """The share of right moments of two arms that have lost the words they are asked about."""
    asked = [[row["question"] for row in truth["questions"]] for truth in truths]
    shares = {}
    if len(films) > 1:
        right = [
            _right(answer, row)
            for k, truth in enumerate(truths)
            for answer, row in zip(reader.reply(scripts[k - 1], asked[k]), truth["questions"], strict=True)
        ]
        shares["words of another film"] = sum(right) / len(right)
    kind, seed = films[0]
    blurred = reader.read(Blurred(media.open(home / f"{kind}-{seed}.mp4")))
    right = [
        _right(answer, row) for answer, row in zip(reader.reply(blurred, asked[0]), truths[0]["questions"], strict=True)
    ]
    shares["words blurred away"] = sum(right) / len(right)
    return shares


class Blurred(Video):
    """A film without its subtitles, its pictures too soft to read: means over squares of 24 pixels."""

    def __init__(self, video: Video) -> None:
        super().__init__(video._source, None)

    def read(self, sampling: Sampling, *, size: tuple[int, int] | None = None, chunk: int = 64) -> Iterator[Clip]:
        """The frames, see `Video.read`, each made of 24 times fewer rows and columns."""
        from torch.nn.functional import interpolate

        for clip in super().read(sampling, size=size, chunk=chunk):
            height, width = clip.frames.shape[2:]
            few = interpolate(clip.frames.float(), (height // 24, width // 24), mode="area")
            yield Clip(interpolate(few, (height, width), mode="bilinear").byte(), clip.seconds)


def _right(answer: Answer, row: dict[str, Any]) -> bool:
    return bool(answer.moments) and _near(answer.moments[0].start, row)


def _near(start: float, row: dict[str, Any]) -> bool:
    return bool(row["start"] - WITHIN <= start <= row["end"] + WITHIN)


def _share(good: int, of: int) -> dict[str, float]:
    """A share with its 95 % interval (Wilson)."""
    z, share = 1.96, good / max(of, 1)
    middle = (share + z * z / (2 * max(of, 1))) / (1 + z * z / max(of, 1))
    reach = z / (1 + z * z / max(of, 1)) * math.sqrt(share * (1 - share) / max(of, 1) + z * z / (4 * max(of, 1) ** 2))
    return {"share": share, "low": middle - reach, "high": middle + reach}


def _slope(scores: np.ndarray, present: np.ndarray) -> float:
    """Slope of the log odds that a score belongs to a present subject; a small ridge keeps it finite."""
    weights = np.where(present, 0.5 / present.mean(), 0.5 / (1 - present.mean()))
    middle, spread = scores.mean(), scores.std() + 1e-9
    x = np.stack([np.ones_like(scores), (scores - middle) / spread], 1)
    beta = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-x @ beta))
        slope = x.T @ (weights * (present - chance)) - 0.1 * beta
        bend = (x * (weights * chance * (1 - chance))[:, None]).T @ x + 0.1 * np.eye(2)
        beta = beta + np.linalg.solve(bend, slope)
    return float(beta[1] / spread)
