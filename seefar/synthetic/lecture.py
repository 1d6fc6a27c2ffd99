"""Hour-long lectures and screen recordings in real typefaces, as H.264, with their truth and questions beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seefar.synthetic import lecture_scene as scenes
from seefar.synthetic.lecture_page import Page
from seefar.synthetic.lecture_topics import Topic, topics

KINDS = ("lecture", "screen")
ABSENT = 0.25  # of a split's subjects stay out of the film and are asked about all the same
FADE = 0.8  # seconds
GRAIN = {"lecture": 2.5, "screen": 0.8}  # a camera's noise, and that of a screen grabbed and compressed twice
SPOKEN = 4  # subjects of a full lecture that are said in its subtitles and never shown


@dataclass
class Scene:
    """A stretch of the film: a page, or None for the speaker, and how the camera and the helpers move over it.

    Args:
        told: (topic, first mark of it on the page, second of the scene at which it begins).
        fade: whether it comes in gradually rather than by a cut; the page counts as shown from the middle on.
    """

    start: float
    end: float
    page: Page | None
    told: list[tuple[Topic, int]] = field(default_factory=list)
    fade: bool = False
    camera: str = "still"
    inset: bool = False
    cursor: bool = False
    seed: int = 0


def render_lecture(
    path: str | Path,
    write: Callable[..., object],
    seed: int,
    minutes: float = 60.0,
    kind: str = "lecture",
    size: tuple[int, int] = (960, 540),
    *,
    split: str = "test",
    rate: float = 2.0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Render a film full of words and write its truth beside it.

    ``talk.mp4`` comes with ``talk.json``, and with ``talk.srt`` where things are said.

    A lecture has slides (some built up point by point, some shown again later), figures, a speaker, and a few
    subjects that are only said; a screen recording has files and notes being typed, terminals that scroll, and
    articles. Blur, grain, compression, fades, a hand-held or zooming camera, a moving inset and a pointer lie over
    them.

    Args:
        path: of the film; its ending names the container.
        write: ``seefar.media.write_video``, or what is called as ``write(path, frames, rate, crf=, preset=)``.
        seed: everything follows from it, the split and the length.
        minutes: half a minute to several hours; the number of subjects grows with it until the split runs out.
        kind: "lecture" or "screen".
        size: (width, height) in pixels, both even.
        split: "test" or "calibration"; their subjects are disjoint.
        rate: frames per second of the file.
        progress: called as ``progress("render", done, total)``.

    Returns:
        The truth: "seconds", "pages" (topic, start, end, lines), "questions" (question, topic, line, and from when to
        when the words it asks about first come into view: start, end; ``until`` they are gone) and "absent"
        (questions about subjects that are not in the film).

    Raises:
        ValueError: an unknown kind or split, or a film shorter than half a minute.
    """
    path = Path(path)
    truth = lecture_truth(seed, minutes, kind, size, split=split) | {"rate": rate}
    script, said, _ = _script(seed, minutes * 60, kind, size, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = round(minutes * 60 * rate)

    def counted() -> Iterator[np.ndarray]:
        for k, frame in enumerate(frames(script, size, seed, rate, GRAIN[kind])):
            if progress is not None and k % 64 == 0:
                progress("render", k, total)
            yield frame

    crf = (26, 28, 30)[seed % 3]
    write(path, counted(), rate, crf=crf, preset="ultrafast")
    if said:
        rows = [
            f"{k}\n{_stamp(start)} --> {_stamp(end)}\n{text}\n" for k, (start, end, text, _, _) in enumerate(said, 1)
        ]
        path.with_suffix(".srt").write_text("\n".join(rows), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return truth


def lecture_truth(
    seed: int, minutes: float = 60.0, kind: str = "lecture", size: tuple[int, int] = (960, 540), *, split: str = "test"
) -> dict[str, Any]:
    """What `render_lecture` returns for the same arguments, without drawing anything."""
    if kind not in KINDS:
        raise ValueError(f"render_lecture: kind must be one of {KINDS}, got {kind!r}")
    if minutes < 0.5:
        raise ValueError(f"render_lecture: minutes must be at least 0.5, got {minutes}")
    head = {"seed": seed, "kind": kind, "split": split, "seconds": minutes * 60, "size": list(size)}
    return head | _truth(*_script(seed, minutes * 60, kind, size, split))


def frames(
    script: list[Scene], size: tuple[int, int], seed: int, rate: float, grain: float = 2.5
) -> Iterator[np.ndarray]:
    """The (H, W, 3) uint8 frames of a script; frame k shows second k / rate, under noise of up to ``grain`` levels."""
    rng = np.random.default_rng([seed, 5])
    width, height = size
    strength = rng.uniform(0.2, 1.0) * grain
    grains = [
        rng.normal(0, strength, (height, width, 1)).round().clip(-11, 11).astype(np.int8).repeat(3, 2) for _ in range(5)
    ]
    faces = _faces(rng, round(height * 0.27))
    speaker = _room(rng, size)
    last = np.zeros((height, width, 3), np.uint8)
    k = 0
    for scene in script:
        moves = np.random.default_rng(scene.seed)
        mood = moves.uniform(0, 6.28, 8)
        corner = moves.integers(2)
        closing = last
        while k / rate < scene.end - 1e-9:
            now = k / rate - scene.start
            frame = speaker if scene.page is None else scene.page.at(now)
            frame = _through(frame, scene.camera, now, mood, moves)
            if scene.page is None:
                _head(
                    frame,
                    faces,
                    now,
                    mood,
                    (round(height * 0.35), round(width * (0.4 + 0.06 * np.sin(now / 5 + mood[0])))),
                )
            elif scene.inset:
                place = (
                    (height - faces[0].shape[0] - 8, width - faces[0].shape[1] - 8)
                    if corner
                    else (8, width - faces[0].shape[1] - 8)
                )
                _head(frame, faces, now, mood, place)
            if scene.cursor:
                _pointer(frame, now, mood)
            if scene.fade and now < FADE:
                share = (now + 0.5 / rate) / FADE
                frame = (closing * (1 - min(1.0, share)) + frame * min(1.0, share)).astype(np.uint8)
            last = frame
            yield (frame.view(np.int8) + grains[k % len(grains)]).view(
                np.uint8
            )  # no overflow: pages keep to 12 ... 243
            k += 1


def _script(
    seed: int, seconds: float, kind: str, size: tuple[int, int], split: str
) -> tuple[list[Scene], list[tuple[float, float, str, Topic, int]], list[Topic]]:
    """The scenes in order, the subtitle cues (start, end, text, topic, line), and the subjects left out."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    bank = [topic for topic in topics(split) if kind == "screen" or topic.kind == "talk"]
    bank = [bank[i] for i in rng.permutation(len(bank))]
    most = round(len(bank) * (1 - ABSENT))
    count = int(np.clip(round(seconds / 110), 2, most))
    chosen, left_out = bank[:count], bank[most:]
    spoken = chosen[:SPOKEN] if kind == "lecture" and count >= 12 else []
    plan = _lecture_plan(chosen[len(spoken) :], spoken, rng) if kind == "lecture" else _screen_plan(chosen, rng)
    weights = np.array([weight for _, _, weight in plan])
    weights = weights * rng.uniform(0.75, 1.25, len(weights))
    ends = np.cumsum(weights) / weights.sum() * seconds
    script: list[Scene] = []
    said = []
    for (what, told, _), start, end in zip(plan, np.concatenate([[0.0], ends[:-1]]), ends, strict=True):
        start, end = float(start), float(end)
        scene = Scene(start, end, None, seed=int(rng.integers(1 << 30)), fade=bool(script) and rng.random() < 0.4)
        _dress(scene, what, told, rng, size)
        if what == "spoken":
            said += _cues(told[0], start, end)
        script.append(scene)
    return script, said, left_out


def _lecture_plan(
    shown: list[Topic], spoken: list[Topic], rng: np.random.Generator
) -> list[tuple[str, list[Topic], float]]:
    """(what, subjects, share of the time) of each scene of a lecture."""
    plan: list[tuple[str, list[Topic], float]] = []
    for place, topic in enumerate(shown):
        if rng.random() < 0.5:
            plan.append(("speaker", [], 0.3))
        plan.append(("build" if rng.random() < 0.35 else "slide", [topic], 1.0))
        if rng.random() < 0.25:
            plan.append(("chart", [], 0.5))
        if rng.random() < 0.2:
            plan.append(("remark", [], 0.25))
        if place > 3 and rng.random() < 0.3:
            plan.append(("again", [shown[int(rng.integers(place - 2))]], 0.5))
    for topic in spoken:
        plan.insert(int(rng.integers(1, len(plan))), ("spoken", [topic], 0.5))
    return plan


def _screen_plan(chosen: list[Topic], rng: np.random.Generator) -> list[tuple[str, list[Topic], float]]:
    """(what, subjects, share of the time) of each scene of a screen recording."""
    plan: list[tuple[str, list[Topic], float]] = []
    shells = [topic for topic in chosen if topic.kind == "term"]
    for group in (shells[: len(shells) // 2], shells[len(shells) // 2 :]):
        if group:
            plan.append(("terminal", group, 1.1 * len(group)))
    for topic in chosen:
        if topic.kind == "code":
            plan.append(("editor", [topic], 1.0))
        elif topic.kind == "talk":
            plan.append(("notes" if rng.random() < 0.4 else "article", [topic], 1.0))
    return [plan[i] for i in rng.permutation(len(plan))]


def _dress(scene: Scene, what: str, told: list[Topic], rng: np.random.Generator, size: tuple[int, int]) -> None:
    """Gives a scene its page and its disturbances."""
    span = scene.end - scene.start
    scene.told = [(topic, 0) for topic in told if what != "spoken"]
    if what in ("slide", "build", "again"):
        scene.page = scenes.slide(told[0], rng, size, span, what == "build")
    elif what == "chart":
        scene.page = scenes.chart(rng, size)
    elif what == "remark":
        scene.page = scenes.remark(rng, size)
    elif what == "editor":
        scene.page = scenes.editor(told[0], rng, size, span)
    elif what in ("notes", "article"):
        scene.page = scenes.article(told[0], rng, size, span, what == "notes")
    elif what == "terminal":
        scene.page, _ = scenes.terminal(told, rng, size, span)
        scene.told = [(topic, 10 * owner) for owner, topic in enumerate(told)]
    desk = what in ("editor", "notes", "article", "terminal")
    scene.camera = "still" if desk else str(rng.choice(["still", "still", "zoom", "pan", "hand"]))
    scene.inset = rng.random() < (0.25 if desk else 0.4)
    scene.cursor = desk or rng.random() < 0.3


def _truth(
    script: list[Scene], said: list[tuple[float, float, str, Topic, int]], left_out: list[Topic]
) -> dict[str, Any]:
    """Pages, questions with the first appearance of what they ask about, and questions about what is not there."""
    pages, questions, known = [], [], set()
    for scene in script:
        for topic, base in scene.told:
            assert scene.page is not None
            delay = FADE / 2 if scene.fade else 0.0
            marks: dict[int, tuple[float, float]] = {}
            for mark in range(len(topic.lines) + 1):
                span = scene.page.appears(base + mark)
                if span is not None and span[1] < scene.end - scene.start:
                    marks[mark] = (scene.start + max(span[0], delay), scene.start + max(span[1], delay))
            lines = [
                {"line": mark, "text": (topic.title, *topic.lines)[mark], "start": a, "end": b}
                for mark, (a, b) in marks.items()
            ]
            pages.append({"topic": topic.title, "start": scene.start, "end": scene.end, "lines": lines})
            if topic.title in known:
                continue
            known.add(topic.title)
            whole = (min(a for a, _ in marks.values()), max(b for _, b in marks.values()))
            for line, question in topic.questions:
                if line == 0 or line in marks:
                    a, b = marks[line] if line else whole
                    questions.append(_row(question, topic, line, a, b, scene.end))
    for topic in dict.fromkeys(topic for *_, topic, _ in said):
        cues = {line: (a, b) for a, b, _, owner, line in said if owner is topic}
        for line, question in topic.questions:
            a, b = cues[line]
            first, last = (min(a for a, _ in cues.values()), max(a for a, _ in cues.values())) if line == 0 else (a, a)
            questions.append(_row(question, topic, line, first, last, b))
    absent = [{"question": question, "topic": topic.title} for topic in left_out for _, question in topic.questions]
    return {"pages": pages, "questions": questions, "absent": absent}


def _row(question: str, topic: Topic, line: int, start: float, end: float, until: float) -> dict[str, Any]:
    return {"question": question, "topic": topic.title, "line": line, "start": start, "end": end, "until": until}


def _cues(topic: Topic, start: float, end: float) -> list[tuple[float, float, str, Topic, int]]:
    """The subject as speech: its title and its points, evenly over the scene."""
    texts = [f"Let me tell you about {topic.title[0].lower()}{topic.title[1:]}.", *(f"{line}." for line in topic.lines)]
    edges = np.linspace(start + 0.5, end - 0.5, len(texts) + 1).tolist()
    return [(edges[k], edges[k + 1] - 0.2, text, topic, k) for k, text in enumerate(texts)]


def _stamp(second: float) -> str:
    ms = round(second * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def _through(frame: np.ndarray, camera: str, now: float, mood: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The page as a camera sees it that zooms slowly, pans slowly, or is held by hand."""
    if camera == "still":
        return frame.copy()
    from PIL import Image

    height, width = frame.shape[:2]
    reach = 0.03 + 0.03 * (mood[7] / 6.28)
    zoom, x, y = reach, 0.5, 0.5
    if camera == "zoom":
        zoom = reach * (0.5 - 0.5 * np.cos(now / 20))
    elif camera == "pan":
        x, y = 0.5 + 0.5 * np.sin(now / 25 + mood[0]), 0.5 + 0.5 * np.cos(now / 31 + mood[1])
    else:
        x, y = (0.5 + rng.normal(0, 0.04, 2)).clip(0, 1)
    left, top = zoom * width * x, zoom * height * y
    box = (left, top, left + width * (1 - zoom), top + height * (1 - zoom))
    return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR, box=box))


def _faces(rng: np.random.Generator, side: int) -> list[np.ndarray]:
    """Pictures of one person talking."""
    from PIL import Image, ImageDraw, ImageFilter

    skin = tuple(int(v) for v in rng.uniform((150, 100, 70), (235, 190, 160)))
    shirt = tuple(int(v) for v in rng.uniform(40, 200, 3))
    pictures = []
    for k in range(12):
        image = Image.new("RGB", (side, side), (74, 80, 92))
        pen = ImageDraw.Draw(image)
        lean, mouth = side * 0.05 * np.sin(k), side * (0.02 + 0.05 * rng.random())
        x = side / 2 + lean
        pen.ellipse((side * 0.12 + lean / 2, side * 0.72, side * 0.88 + lean / 2, side * 1.4), fill=shirt)
        pen.ellipse((x - side * 0.2, side * 0.2, x + side * 0.2, side * 0.74), fill=skin)
        pen.chord((x - side * 0.22, side * 0.16, x + side * 0.22, side * 0.6), 180, 360, fill=(50, 36, 28))
        for eye in (-0.08, 0.08):
            pen.ellipse((x + side * (eye - 0.02), side * 0.42, x + side * (eye + 0.02), side * 0.46), fill=(30, 26, 26))
        pen.ellipse(
            (x - side * 0.07, side * 0.6 - mouth / 2, x + side * 0.07, side * 0.6 + mouth / 2), fill=(150, 60, 60)
        )
        pictures.append(np.array(image.filter(ImageFilter.GaussianBlur(1.0))).clip(12, 243))
    return pictures


def _room(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """The wall and the desk behind the speaker."""
    from PIL import Image, ImageFilter

    rough = rng.integers(60, 150, (size[1] // 20, size[0] // 20, 3)).astype(np.uint8)
    wall = np.array(Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(6)))
    wall[round(size[1] * 0.8) :] = (96, 70, 48)
    return wall  # between 12 and 243 by construction


def _head(frame: np.ndarray, faces: list[np.ndarray], now: float, mood: np.ndarray, place: tuple[int, int]) -> None:
    """The person, who talks, and rests now and then."""
    resting = np.sin(now / 7 + mood[2]) > 0.93
    face = faces[3] if resting else faces[int(now * 5 + 3 * np.sin(now + mood[3])) % len(faces)]
    y, x = place
    frame[y : y + face.shape[0], x : x + face.shape[1]] = face


def _pointer(frame: np.ndarray, now: float, mood: np.ndarray) -> None:
    """A mouse pointer on its way, resting more than half of the time."""
    step = np.floor(now / 6) + min(1.0, (now / 6 % 1) * 3)
    x = round(frame.shape[1] * (0.5 + 0.4 * np.sin(step * 1.7 + mood[4])))
    y = round(frame.shape[0] * (0.5 + 0.4 * np.sin(step * 2.3 + mood[5])))
    for row in range(min(16, frame.shape[0] - y)):
        frame[y + row, x : x + max(1, 2 * row // 3)] = (20, 20, 20)
        frame[y + row, x + 1 : x + max(1, 2 * row // 3 - 1)] = (240, 240, 240)
