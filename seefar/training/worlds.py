"""Rendered films as training data for ``pico``: pixels through the real codec, labels from the story's truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seefar.media import open as open_video
from seefar.media.sample import Fps
from seefar.media.write import write_video
from seefar.synthetic.film import render_film
from seefar.synthetic.questions import TEMPLATES, Question, ask_about
from seefar.synthetic.shapes import COLOURS, PHOTOGRAPHS, SHAPES, WORDS, held_out
from seefar.synthetic.story import CONTACT, Story, write_drill, write_story
from seefar.training.fit import Progress

COLOUR_LIST = list(COLOURS)
Look = tuple[str | None, str | None]


@dataclass(frozen=True)
class Thing:
    """A shape on one frame: its look, number (None for none), whether it is squashed, its centre in [0, 1] and its
    radius in units of the frame's height."""

    colour: str
    shape: str
    number: int | None
    squashed: bool
    centre: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Scene:
    """What one frame shows."""

    things: tuple[Thing, ...]
    cards: tuple[tuple[str, str], ...]  # ("word" | "photograph", name)

    def shows(self, look: Look) -> bool:
        """Whether it answers to (colour or None, shape or None) or ("word" | "photograph", name)."""
        if look[0] in ("word", "photograph"):
            return look in self.cards
        return any(look[0] in (None, t.colour) and look[1] in (None, t.shape) for t in self.things)


def scene(story: Story, second: float) -> Scene:
    """The truth of the frame shown at a second."""
    cards = [("word", c.text) for c in story.words if c.start <= second < c.end]
    photographs = [("photograph", c.text) for c in story.photographs if c.start <= second < c.end]
    if photographs:  # a photograph fills the frame
        return Scene((), tuple(photographs))
    things = []
    for seen in story.sightings:
        if seen.start <= second < seen.end:
            who = story.cast[seen.who]
            colour = who.colour if seen.recolour is None or second < seen.recolour[0] else seen.recolour[1]
            seconds, ys, xs = np.array(seen.path).T
            y, x = float(np.interp(second, seconds, ys)), float(np.interp(second, seconds, xs)) * 9 / 16
            squashed = any(abs(second - hit) <= CONTACT for hit, _ in seen.bounces)
            things.append(Thing(colour, who.shape, who.number, squashed, (y, x), seen.radius))
    return Scene(tuple(things), tuple(cards))


@dataclass(frozen=True)
class Reel:
    """A training film: its frames (T, 3, H, W) uint8 at one a second, what each shows, and its questions."""

    frames: Tensor
    seconds: Tensor
    scenes: list[Scene]
    questions: list[Question]
    story: Story


def reels(
    folder: Path,
    seeds: range,
    size: tuple[int, int],
    *,
    kind: str = "train",
    minutes: float = 10,
    progress: Progress | None = None,
) -> list[Reel]:
    """Films of these seeds, rendered to H.264 in ``folder`` where they are not there yet, and read back.

    Args:
        folder: keeps the films and the resized frames.
        seeds: one film each.
        size: (H, W) of the frames.
        kind: "train" or "held-out" for stories with their questions, "drill" for films without a plot or questions.
        minutes: length of each film.
        progress: called as the work goes on.
    """
    made = []
    for n, seed in enumerate(seeds):
        if progress is not None:
            progress(f"{kind} films", n, len(seeds))
        path = folder / f"{kind}-{seed:04d}.mp4"
        drill, seconds = kind == "drill", minutes * 60
        story = write_drill(seed, seconds) if drill else write_story(seed, seconds, split=kind)
        truth = path.with_suffix(".json")
        if not truth.exists() or json.loads(truth.read_text())["seconds"] != story.seconds:
            render_film(path, write_video, seed=seed, rate=1.0, split=story.split, story=story)
        cache = path.with_suffix(f".{size[0]}x{size[1]}.npy")
        if not cache.exists():
            np.save(cache, open_video(path).clip(Fps(1.0), size=size).frames.numpy())
        frames = torch.from_numpy(np.load(cache))
        times = torch.arange(len(frames), dtype=torch.float64)
        scenes = [scene(story, float(second)) for second in times]
        asked = [] if drill else [q for k in range(4) for q in ask_about(story, split=kind, seed=k, per_topic=9)]
        made.append(Reel(frames, times, scenes, asked, story))
    return made


def phrase(rng: np.random.Generator, look: Look) -> str:
    """A few words for a look: part of a question, or one of the names alone."""
    colour, shape = look
    if colour == "word":
        return str(rng.choice([f"the word {shape}", f"{shape} is written on screen", str(shape)]))
    if colour == "photograph":
        return str(rng.choice([f"the photograph of the {shape}", f"a picture of the {shape}", f"the {shape} photo"]))
    if colour is None:
        return str(rng.choice([f"the {shape}", f"a {shape}"]))
    if shape is None:
        return str(rng.choice([f"the {colour} object", f"the {colour} thing"]))
    return str(rng.choice([f"the {colour} {shape}", f"a {colour} {shape}"]))


def some_look(rng: np.random.Generator, shown: Scene | None) -> Look:
    """A look that a scene shows, or a random one; never a held-out combination."""
    if shown is not None and (shown.things or shown.cards):
        items: list[Look] = [*shown.cards]
        items += [(t.colour, t.shape) for t in shown.things]
        colour, shape = items[rng.integers(len(items))]
    else:
        kind = rng.random()
        if kind < 0.2:
            return "word", str(rng.choice(WORDS))
        if kind < 0.4:
            return "photograph", str(rng.choice(list(PHOTOGRAPHS)))
        while True:
            colour, shape = str(rng.choice(COLOUR_LIST)), str(rng.choice(SHAPES))
            if not held_out(colour, shape):
                break
    if colour not in ("word", "photograph"):
        blur = rng.random()
        if blur < 0.15:
            return None, shape
        if blur < 0.3:
            return colour, None
    return colour, shape


def wording(rng: np.random.Generator, looks: list[Look]) -> str:
    """A training question, or a mere phrase, about one, two or three looks."""
    if len(looks) == 2:
        template = str(rng.choice(TEMPLATES["before/after"][0]))
        return template.format(a=" ".join(map(str, looks[0])), b=" ".join(map(str, looks[1])))
    if len(looks) == 3:
        template = str(rng.choice(TEMPLATES["order"][0]))
        return template.format(**{k: " ".join(map(str, look)) for k, look in zip("abd", looks, strict=True)})
    (colour, shape) = looks[0]
    if rng.random() < 0.4:
        return phrase(rng, looks[0])
    if colour == "word":
        return str(rng.choice(TEMPLATES["word"][0])).format(w=shape)
    if colour == "photograph":
        return str(rng.choice(TEMPLATES["photograph"][0])).format(p=shape)
    if colour is None:
        return str(rng.choice(TEMPLATES["colour"][0])).format(s=shape)
    if shape is None:
        return str(rng.choice(TEMPLATES["shape"][0])).format(c=colour)
    topics = ["exists", "number", "appear", "vanish", "bounce", "duration", "visits", "bounces", "turned"]
    return str(rng.choice(TEMPLATES[str(rng.choice(topics))][0])).format(o=f"{colour} {shape}")
