"""Stories drawn to real H.264 files, with their truth and questions in a JSON file beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seefar.synthetic.questions import ask_about
from seefar.synthetic.shapes import COLOURS, digit, ground, paste, photograph, stencil, word
from seefar.synthetic.story import CONTACT, Sighting, Story, write_story

SCENE_SECONDS = (60, 180)
Writer = Callable[[Path, Iterator[np.ndarray], float], object]


def frames(story: Story, *, rate: float = 4.0, height: int = 360, width: int = 640) -> Iterator[np.ndarray]:
    """The film's frames in order, each (height, width, 3) uint8; frame k shows the world at second k / rate."""
    rng = np.random.default_rng([story.seed, 77])
    grain = rng.normal(0, 4.0, (height + 80, width + 120, 1))
    scene_end, backdrop = -1.0, np.zeros((0, 0, 3), np.uint8)
    pan = np.zeros((2, 2))
    for k in range(round(story.seconds * rate)):
        now = k / rate
        if now >= scene_end:
            backdrop = np.clip(ground(height + 80, width + 120, int(rng.integers(1 << 30))) + grain, 0, 255).astype(
                np.uint8
            )
            pan = np.stack([rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)])
            scene_start, scene_end = now, now + rng.uniform(*SCENE_SECONDS)
        share = (now - scene_start) / (scene_end - scene_start)
        y, x = ((pan[0] * (1 - share) + pan[1] * share) * (80, 120)).astype(int)
        canvas = backdrop[y : y + height, x : x + width].copy()
        for seen in story.sightings:
            if seen.start <= now < seen.end:
                _draw(canvas, story, seen, now)
        for card in story.words:
            if card.start <= now < card.end:
                _draw_word(canvas, card.text, card.seed)
        for card in story.photographs:
            if card.start <= now < card.end:
                canvas = photograph(card.text, height, width, card.seed)
        yield canvas


def render_film(
    path: str | Path,
    write: Writer,
    *,
    seed: int,
    minutes: float = 60.0,
    rate: float = 4.0,
    split: str = "held-out",
    size: tuple[int, int] = (360, 640),
    story: Story | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Render a film whose contents are known, and write its truth beside it (``film.mp4`` and ``film.json``).

    Args:
        path: the file to write.
        write: ``seefar.media.write_video``, or anything else that is called as ``write(path, frames, rate)``.
        seed: decides everything in it.
        minutes: its length, from half a minute to ten hours and more; memory does not grow with it.
        rate: frames per second of the file.
        split: "held-out" (new combinations, handwriting, templates) or "train".
        size: (height, width) of the frames in pixels.
        story: draw this one instead of the seed's own.
        progress: called as ``progress("render", frames done, all frames)``.

    Returns:
        The truth: {"seed", "seconds", "rate", "story", "questions"}; each question has kind, question, answer, spans.
    """
    path = Path(path)
    story = story or write_story(seed, minutes * 60, split=split)
    total = round(story.seconds * rate)

    def counted() -> Iterator[np.ndarray]:
        for k, frame in enumerate(frames(story, rate=rate, height=size[0], width=size[1])):
            if progress is not None and k % 64 == 0:
                progress("render", k, total)
            yield frame
        if progress is not None:
            progress("render", total, total)

    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, counted(), rate)
    questions = [question.to_json() for question in ask_about(story, split=split)]
    truth = {"seed": seed, "seconds": story.seconds, "rate": rate, "story": story.to_json(), "questions": questions}
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1))
    return truth


def _draw(canvas: np.ndarray, story: Story, seen: Sighting, now: float) -> None:
    who = story.cast[seen.who]
    unit = canvas.shape[0]
    seconds, ys, xs = np.array(seen.path).T
    y, x = np.interp(now, seconds, ys) * unit, np.interp(now, seconds, xs) * unit
    h = w = 2 * seen.radius * unit
    for second, side in seen.bounces:
        if abs(now - second) <= CONTACT:
            if side in ("top", "bottom"):
                h, w = h * 0.55, w * 1.25
            else:
                h, w = h * 1.25, w * 0.55
    size = (max(2, round(w)), max(2, round(h)))
    top, left = round(y - size[1] / 2), round(x - size[0] / 2)
    colour = who.colour if seen.recolour is None or now < seen.recolour[0] else seen.recolour[1]
    cover = stencil(who.shape, *size)
    rim = stencil(who.shape, size[0] + 8, size[1] + 8)
    paste(canvas, rim * 0.9, (18, 18, 22), top - 4, left - 4)
    paste(canvas, cover, COLOURS[colour], top, left)
    if who.number is not None:
        side_length = max(8, round(min(size) * 0.5))
        plate = stencil("circle", round(side_length * 1.35), round(side_length * 1.35))
        paste(canvas, plate, (16, 16, 20), round(y - plate.shape[0] / 2), round(x - plate.shape[1] / 2))
        ink = digit(who.number, who.handwriting, side_length, story.split)
        paste(canvas, ink, (255, 255, 255), round(y - side_length / 2), round(x - side_length / 2))


def _draw_word(canvas: np.ndarray, text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cover = word(text, round(canvas.shape[0] * rng.uniform(0.17, 0.21)))
    h, w = cover.shape
    y = int(rng.uniform(0.1, 0.9) * (canvas.shape[0] - h - 40)) + 20
    x = int(rng.uniform(0.1, 0.9) * max(1, canvas.shape[1] - w - 40)) + 20
    canvas[max(0, y - 14) : y + h + 14, max(0, x - 18) : x + w + 18] = (20, 24, 30)
    paste(canvas, cover, (240, 240, 235), y, x)
