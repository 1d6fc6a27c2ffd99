"""What happens in a rendered film, decided before a pixel is drawn: the truth that its questions are asked about.

A story has a cast of coloured shapes that come and go, carry handwritten numbers, bounce off the walls and change
colour, words shown on cards, and photographs flashed for a moment; in between there is only scenery.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from seefar.synthetic.shapes import COLOURS, PHOTOGRAPHS, SHAPES, WORDS, held_out

SPLITS = ("train", "held-out")
CONTACT = 0.7
"""Seconds before and after a bounce during which the shape is seen squashed against the wall."""


@dataclass(frozen=True)
class Character:
    """A member of the cast; its number, if it carries one, is written on it."""

    colour: str
    shape: str
    number: int | None
    handwriting: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Sighting:
    """One stay of a character on screen.

    Args:
        path: (second, y, x) corners of its way, centre in units of the frame's height; straight lines between.
        bounces: (second, side) when it hits a wall; side is "top", "bottom", "left" or "right".
        recolour: (second, colour) when it takes another colour, for the rest of this stay.
        radius: half its size in units of the frame's height.
    """

    who: int
    start: float
    end: float
    radius: float
    path: tuple[tuple[float, float, float], ...]
    bounces: tuple[tuple[float, str], ...] = ()
    recolour: tuple[float, str] | None = None


@dataclass(frozen=True)
class Card:
    """A word, or a photograph, on screen from start to end."""

    text: str
    start: float
    end: float
    seed: int


@dataclass(frozen=True)
class Story:
    """A whole film's truth; ``asdict`` of it is JSON."""

    seed: int
    seconds: float
    split: str
    cast: tuple[Character, ...]
    sightings: tuple[Sighting, ...]
    words: tuple[Card, ...]
    photographs: tuple[Card, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return asdict(self)


def write_story(
    seed: int,
    seconds: float,
    *,
    split: str = "held-out",
    cast: int = 9,
    photographs: list[tuple[str, float]] | None = None,
    flash: float = 1.0,
) -> Story:
    """A story by its seed: the same arguments give the same film, frame for frame.

    Args:
        seed: decides everything.
        seconds: length of the film.
        split: "train" never shows the held-out combinations, handwriting and question templates; "held-out" stars them.
        cast: how many characters.
        photographs: (name, second) of the flashes; None lets the seed decide.
        flash: how long a photograph is shown, in seconds.
    """
    if split not in SPLITS:
        raise ValueError(f"write_story: split must be one of {SPLITS}, got {split!r}")
    if seconds < 30:
        raise ValueError(f"write_story: a film needs at least 30 seconds, got {seconds}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 2311])
    people = draw_cast(rng, cast, split)
    busy = [(second, second + flash) for _, second in photographs or []]
    singles = set(rng.permutation(cast)[: max(2, cast // 2)].tolist())
    changes = {who for who in singles if rng.random() < 0.4}
    left = {who: 1 if who in singles else int(rng.integers(2, 5)) for who in range(cast)}
    last_seen = dict.fromkeys(range(cast), -99.0)
    sightings: list[Sighting] = []
    words, flashes = [], [Card(n, s, s + flash, int(rng.integers(1 << 30))) for n, s in photographs or []]
    fresh_words, fresh_photos = list(rng.permutation(WORDS)[:4]), list(rng.permutation(list(PHOTOGRAPHS))[:4])
    now = float(rng.uniform(3, 12))
    while True:
        who_next = [who for who, n in left.items() if n > 0 and now - last_seen[who] > 10]
        acts_next = ["sighting"] * sum(left[w] for w in who_next) + ["word"] * len(fresh_words)
        acts_next += ["photograph"] * (len(fresh_photos) if photographs is None else 0)
        if not acts_next and any(left.values()):  # everybody left was on screen a moment ago
            now += 5.0
            if now > seconds:
                break
            continue
        if not acts_next:
            break
        act = str(rng.choice(acts_next))
        length = {"sighting": float(rng.uniform(7, 26)), "word": float(rng.uniform(4, 9)), "photograph": flash}[act]
        for begin, end in busy:
            if now < end + 3 and begin < now + length + 3:
                now = end + 3
        if now + length > seconds - 3:
            break
        if act == "word":
            words.append(Card(str(fresh_words.pop()), now, now + length, int(rng.integers(1 << 30))))
        elif act == "photograph":
            now = float(np.ceil(now))
            flashes.append(Card(str(fresh_photos.pop()), now, now + flash, int(rng.integers(1 << 30))))
        else:
            weights = np.array([left[w] for w in who_next], float)
            who = int(rng.choice(who_next, p=weights / weights.sum()))
            pair = [w for w in who_next if w != who]
            halves = rng.permutation(["left", "right"]).tolist() if pair and rng.random() < 0.3 else ["all"]
            sightings.append(draw_sighting(rng, who, now, length, halves[0], people, who in changes))
            if len(halves) == 2:
                other, delay = int(rng.choice(pair)), float(rng.uniform(0, 6))
                sightings.append(draw_sighting(rng, other, now + delay, length, halves[1], people, other in changes))
                left[other] -= 1
                last_seen[other] = now + delay + length
                length += delay
            left[who] -= 1
            last_seen[who] = now + length
        # mere scenery until the next thing: what is still to come is spread over what is left of the film
        ahead = sum(left.values()) + len(fresh_words) + (len(fresh_photos) if photographs is None else 0)
        scenery = (seconds * 0.98 - now - length - 16.0 * ahead) / max(1, ahead)
        now += length + max(3.0, scenery * float(rng.uniform(0.3, 1.7)))
    seen = sorted(sightings, key=lambda s: s.start)
    return Story(
        seed, float(seconds), split, tuple(people), tuple(seen),
        tuple(sorted(words, key=lambda c: c.start)), tuple(sorted(flashes, key=lambda c: c.start)),
    )  # fmt: skip


def write_drill(seed: int, seconds: float) -> Story:
    """A training film without a plot: each second shows something else, so that all handwriting comes up."""
    rng = np.random.default_rng([seed, 4211])
    people: list[Character] = []
    sightings: list[Sighting] = []
    words: list[Card] = []
    photographs: list[Card] = []
    for second in map(float, range(int(seconds))):
        what = rng.random()
        card = Card("", second, second + 1, int(rng.integers(1 << 30)))
        if what < 0.3:
            photographs.append(replace(card, text=str(rng.choice(list(PHOTOGRAPHS)))))
        elif what < 0.42:
            words.append(replace(card, text=str(rng.choice(WORDS))))
        else:
            for half in ["left", "right"] if rng.random() < 0.5 else ["all"]:
                people += draw_cast(rng, 1, "train")
                sightings.append(draw_sighting(rng, len(people) - 1, second, 1.0, half, people, False))
    return Story(seed, float(seconds), "train", tuple(people), tuple(sightings), tuple(words), tuple(photographs))


def draw_cast(rng: np.random.Generator, size: int, split: str) -> list[Character]:
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    if split == "train":
        pairs = [p for p in pairs if not held_out(*p)]
        chosen = rng.permutation(len(pairs))[:size]
    else:  # at least a third of the cast was never seen in training
        rare = [i for i, p in enumerate(pairs) if held_out(*p)]
        some = rng.permutation(rare)[: max(1, size // 3)]
        rest = rng.permutation([i for i in range(len(pairs)) if i not in some])
        chosen = np.concatenate([some, rest])[:size]
    people = []
    for i in chosen:
        number, handwriting, carries = int(rng.integers(10)), int(rng.integers(1 << 20)), rng.random() < 0.6
        # a number plate would fill the hole of a ring and make it a circle
        colour, shape = pairs[i]
        people.append(Character(colour, shape, number if carries and shape != "ring" else None, handwriting))
    return people


def draw_sighting(
    rng: np.random.Generator,
    who: int,
    start: float,
    length: float,
    half: str,
    cast: list[Character],
    changes: bool,
) -> Sighting:
    radius = float(rng.uniform(0.17, 0.25))
    wide = 16 / 9
    x_range = {"all": (0.0, wide), "left": (0.0, wide / 2), "right": (wide / 2, wide)}[half]
    sides = {
        "all": ["top", "bottom", "left", "right"],
        "left": ["top", "bottom", "left"],
        "right": ["top", "bottom", "right"],
    }[half]
    room = 0.05  # a shape that does not bounce stays clear of the walls

    def inside() -> tuple[float, float]:
        x = rng.uniform(x_range[0] + radius + room, x_range[1] - radius - room)
        return float(rng.uniform(radius + room, 1 - radius - room)), float(x)

    def wall(side: str) -> tuple[float, float]:
        y, x = inside()
        return {
            "top": (radius * 0.6, x),
            "bottom": (1 - radius * 0.6, x),
            "left": (y, radius * 0.6),
            "right": (y, wide - radius * 0.6),
        }[side]

    end = start + length
    path: list[tuple[float, float, float]] = [(start, *inside())]
    bounces: list[tuple[float, str]] = []
    recolour = None
    if changes and length > 8:
        shape = cast[who].shape
        free = [c for c in COLOURS if all((c, shape) != (m.colour, m.shape) for m in cast) and c != cast[who].colour]
        free = [c for c in free if not held_out(c, shape)] or free
        recolour = (start + length * float(rng.uniform(0.35, 0.65)), str(rng.choice(free)))
    elif length >= 5 and rng.random() < 0.45:
        count = int(rng.integers(1, 1 + min(3, int(length // 5))))
        times = start + length * (np.arange(count) + 0.5 + rng.uniform(-0.15, 0.15, count)) / count
        for time in times:
            side = str(rng.choice([s for s in sides if not bounces or s != bounces[-1][1]]))
            place = wall(side)
            path += [(float(time) - CONTACT, *place), (float(time) + CONTACT, *place)]
            bounces.append((float(time), side))
    path.append((end, *inside()))
    return Sighting(who, start, end, radius, tuple(path), tuple(bounces), recolour)
