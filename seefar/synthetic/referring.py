"""Multiple-choice questions that refer to a moment of a story: by what is seen there, or by what is being said.

The kind of question of LongVideoBench (Wu et al., arXiv 2407.15754) over our own stories; wrong options are of the same
kind as the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from seefar.synthetic.questions import Question, ask_about
from seefar.synthetic.shapes import COLOURS, SHAPES
from seefar.synthetic.story import Card, Sighting, Story, write_story

Span = tuple[float, float]
TOPICS = {  # topic of `ask_about`: the category of LongVideoBench that it is nearest to
    "colour": "S2A", "number": "S2A", "shape": "S2O", "turned": "SAA", "visits": "SOS", "order": "O3O",
    "before/after": "E3E",
}  # fmt: skip
SAID = (
    ("amber", "broken", "distant", "early", "folded", "gentle", "hollow", "narrow", "patient", "quiet", "tall"),
    ("baker", "bridge", "carpet", "drummer", "engine", "ferry", "kettle", "lantern", "orchard", "pilot", "teacher"),
    ("arrives", "answers", "falters", "hums", "leans", "listens", "returns", "rests", "sings", "turns", "waits"),
)  # fmt: skip
MOST = 5


class Evidence(NamedTuple):
    """What has to be seen: something that is on screen during ``shown``, by a token that reaches into ``at``."""

    shown: Span
    at: Span


@dataclass(frozen=True)
class Said:
    """A spoken line, as a subtitle shows it, in seconds of the film; it tells nothing of what is seen."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Choice:
    """A question with its options.

    Args:
        category: of LongVideoBench's seventeen.
        query: the words that name the moment, part of ``question``; empty where the question names only a thing.
        answer: position of the right option.
        evidence: every group must be seen; one member of a group is enough.
    """

    category: str
    query: str
    question: str
    options: tuple[str, ...]
    answer: int
    evidence: tuple[tuple[Evidence, ...], ...]


def write_clip(seed: int, seconds: float) -> Story:
    """A story of any length from 5 seconds on; below 30 it is cut out of a longer one, around its first sighting."""
    if seconds < 5:
        raise ValueError(f"write_clip: a clip needs at least 5 seconds to show anything, got {seconds}")
    if seconds >= 30:
        return write_story(seed, seconds)
    story = write_story(seed, 60)
    first = story.sightings[0].start if story.sightings else 0.0
    return trim(story, min(max(0.0, first - seconds / 4), story.seconds - seconds), seconds)


def trim(story: Story, begin: float, seconds: float) -> Story:
    """The part of a story from ``begin`` on, its clock set to 0 there; a stay that is cut begins or ends at the cut.

    A stay that has taken another colour before the cut, or shows it for less than a second before the end, is left
    out, and so are stays and cards of which less than a second remains.
    """
    if not (begin >= 0 and 0 < seconds <= story.seconds - begin):
        raise ValueError(f"trim: {seconds} s from second {begin} on do not lie in a story of {story.seconds} s")

    def span(start: float, end: float) -> Span:
        return max(0.0, start - begin), min(seconds, end - begin)

    def inside(start: float, end: float) -> bool:
        start, end = span(start, end)
        return end - start >= 1

    def moved(seen: Sighting) -> Sighting:
        start, end = span(seen.start, seen.end)
        return replace(
            seen,
            start=start,
            end=end,
            path=tuple((second - begin, y, x) for second, y, x in seen.path),
            bounces=tuple((second - begin, side) for second, side in seen.bounces if start < second - begin < end),
            recolour=None if seen.recolour is None else (seen.recolour[0] - begin, seen.recolour[1]),
        )

    def whole(seen: Sighting) -> bool:
        return seen.recolour is None or 1 <= seen.recolour[0] - begin <= seconds - 1

    def kept(cards: tuple[Card, ...]) -> tuple[Card, ...]:
        spans = [(card, *span(card.start, card.end)) for card in cards if inside(card.start, card.end)]
        return tuple(replace(card, start=start, end=end) for card, start, end in spans)

    return replace(
        story,
        seconds=float(seconds),
        sightings=tuple(moved(seen) for seen in story.sightings if inside(seen.start, seen.end) and whole(seen)),
        words=kept(story.words),
        photographs=kept(story.photographs),
    )


def narrate(story: Story, seed: int = 0, *, around: float = 60.0) -> list[Said]:
    """Lines of 2 to 4 seconds (one in eight is shorter than a second), some 4 to 12 seconds apart, no text twice.

    Args:
        story: to speak over; what it shows plays no part.
        seed: decides the lines.
        around: lines go on for so many seconds before and after the film, as when the film was cut out of a longer one.
    """
    rng = np.random.default_rng([story.seed, seed, 913])
    texts = [f"the {a} {b} {c}" for a, b, c in product(*SAID)]
    order = rng.permutation(len(texts))
    lines: list[Said] = []
    now = -around + float(rng.uniform(0, 4))
    while now < story.seconds + around - 4 and len(lines) < len(order):
        length = float(rng.uniform(0.4, 0.9) if rng.random() < 0.125 else rng.uniform(2, 4))
        lines.append(Said(round(now, 2), round(now + length, 2), texts[order[len(lines)]]))
        now += length + float(rng.uniform(4, 12))
    return lines


def refer(story: Story, said: list[Said], *, seed: int = 0, per_topic: int = 2) -> list[Choice]:
    """Up to ``per_topic`` questions of every topic that the story and its lines can answer, in a random order.

    Seven topics are those of `ask_about` (``TOPICS``); three name a line: which object is on screen when it is said
    (T2O), in which colour (T2A), and which object is the next to come into view (T3O).
    """
    rng = np.random.default_rng([story.seed, seed, 1407])
    made: list[Choice] = []
    for asked in ask_about(story, seed=seed, per_topic=per_topic):
        if asked.topic in TOPICS:
            made.append(_seen(rng, story, asked))
    lines = [said[i] for i in rng.permutation(len(said))]
    for topic in (_on_screen, _in_colour, _next_to_come):
        found = [choice for choice in (topic(rng, story, line) for line in lines) if choice is not None]
        made += found[:per_topic]
    return [made[i] for i in rng.permutation(len(made))]


def _seen(rng: np.random.Generator, story: Story, asked: Question) -> Choice:
    """A question of `ask_about` with options; for orders, the whole first stay of each is evidence."""
    kinds = {"colour": list(COLOURS), "turned": list(COLOURS), "shape": list(SHAPES)}
    kinds |= {"number": [str(n) for n in range(10)], "visits": [str(n) for n in range(1, 7)]}
    if asked.topic in ("order", "before/after"):
        stays = [next(s for s in story.sightings if _look(story, s) == look) for look in asked.shows]
        evidence: tuple[tuple[Evidence, ...], ...] = tuple((_whole((s.start, s.end)),) for s in stays)
        names = [" ".join(_look(story, s)) for s in stays]
        pool = names if asked.topic == "order" else ["before", "after"]
    else:
        pool = kinds[asked.topic]
        seen = tuple(_whole(span) for span in asked.spans)
        evidence = tuple((one,) for one in seen) if asked.topic == "visits" else (seen,)
    return _choice(rng, TOPICS[asked.topic], "", asked.question, asked.answer, pool, evidence)


def _on_screen(rng: np.random.Generator, story: Story, line: Said) -> Choice | None:
    stay = _alone(story, line)
    if stay is None:
        return None
    evidence = ((Evidence((stay.start, stay.end), (line.start, line.end)),),)
    question, names = f"{_when(line)}, which object is on screen?", _names(story)
    return _choice(rng, "T2O", _when(line), question, " ".join(_look(story, stay)), names, evidence)


def _in_colour(rng: np.random.Generator, story: Story, line: Said) -> Choice | None:
    stay = _alone(story, line)
    if stay is None:
        return None
    evidence = ((Evidence((stay.start, stay.end), (line.start, line.end)),),)
    question = f"{_when(line)}, which colour has the object on screen?"
    return _choice(rng, "T2A", _when(line), question, _look(story, stay)[0], list(COLOURS), evidence)


def _next_to_come(rng: np.random.Generator, story: Story, line: Said) -> Choice | None:
    """Only where a single object comes next, and none looks new before it by taking another colour."""
    later = sorted((s for s in story.sightings if s.start > line.end), key=lambda s: s.start)
    if line.start < 0 or not later or later[0].recolour is not None:
        return None
    turned = [s.recolour[0] for s in story.sightings if s.recolour is not None]
    if any(line.start < second < later[0].start for second in turned):
        return None
    if len(later) > 1 and later[1].start - later[0].start < 2:
        return None
    query = f"After the subtitle says '{line.text}'"
    evidence = ((_whole((later[0].start, later[0].end)),),)
    question, answer = f"{query}, which object is the next to come into view?", " ".join(_look(story, later[0]))
    return _choice(rng, "T3O", query, question, answer, _names(story), evidence)


def _alone(story: Story, line: Said) -> Sighting | None:
    """The stay that is on screen during the whole line, if nothing else is and it keeps its colour."""
    if line.start < 0:
        return None
    things: list[Sighting | Card] = [*story.sightings, *story.words, *story.photographs]
    touched = [thing for thing in things if thing.start < line.end and line.start < thing.end]
    if len(touched) != 1 or not isinstance(touched[0], Sighting) or touched[0].recolour is not None:
        return None
    stay = touched[0]
    return stay if stay.start <= line.start and line.end <= stay.end else None


def _choice(
    rng: np.random.Generator, category: str, query: str, question: str, answer: str, pool: list[str], evidence: tuple
) -> Choice:
    """The answer among up to four others of its pool, in a random order."""
    others = [other for other in pool if other != answer]
    count = min(len(others), MOST - 1 - int(rng.random() < 0.5))
    options = [answer, *(others[i] for i in rng.permutation(len(others))[:count])]
    order = rng.permutation(len(options))
    shuffled = tuple(options[i] for i in order)
    return Choice(category, query, question, shuffled, shuffled.index(answer), evidence)


def _whole(span: Span) -> Evidence:
    return Evidence(span, span)


def _when(line: Said) -> str:
    return f"When the subtitle says '{line.text}'"


def _look(story: Story, seen: Sighting) -> tuple[str, str]:
    return story.cast[seen.who].colour, story.cast[seen.who].shape


def _names(story: Story) -> list[str]:
    """The whole cast, those too who never come, so that there are always enough wrong options."""
    return [who.name for who in story.cast]
