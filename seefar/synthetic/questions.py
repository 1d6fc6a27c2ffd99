"""Questions about a story, with answers, the spans that they rest on, and the reasoning as pointers and words.

Every question is unambiguous by the story's truth: "the star" is asked about only when one star exists.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seefar.synthetic.shapes import COLOURS, PHOTOGRAPHS, SHAPES, WORDS, held_out
from seefar.synthetic.story import CONTACT, Card, Sighting, Story
from seefar.synthetic.templates import TEMPLATES

KINDS = ("exists", "attribute", "number", "when", "needle", "duration", "count", "order", "before/after")


Step = tuple[str, Any]
"""One step of an answer: ("point", (earliest, latest)) seconds that may be pointed at, or ("word", text)."""


@dataclass(frozen=True)
class Question:
    """A question with its truth.

    Args:
        topic: the template family; kind: the row of the tables it counts in.
        answer: canonical words, or for times and durations the seconds as text.
        spans: seconds that the answer rests on; empty when the answer is that there is nothing.
        shows: what frames worth looking at show, as (colour or None, shape or None) or ("word" | "photograph", name).
        steps: how a careful viewer answers: moments pointed at, then words.
    """

    kind: str
    topic: str
    question: str
    answer: str
    spans: tuple[tuple[float, float], ...]
    shows: tuple[tuple[str | None, str | None], ...]
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """Kind, topic, question, answer and spans, as plain values."""
        record = asdict(self)
        return {name: record[name] for name in ("kind", "topic", "question", "answer", "spans")}


def ask_about(story: Story, *, split: str = "held-out", seed: int = 0, per_topic: int = 2) -> list[Question]:
    """Up to ``per_topic`` questions of every topic that the story can answer, worded by the split's templates."""
    writer = _Writer(story, np.random.default_rng([story.seed, seed, 5]), 1 if split == "held-out" else 0)
    found: list[Question] = []
    for topic in TEMPLATES:
        candidates = getattr(writer, topic.replace("/", "_"))()
        order = writer.rng.permutation(len(candidates))
        found += [candidates[i] for i in order[:per_topic]]
    return found


class _Writer:
    """Finds what can be asked; one method a topic, named like it."""

    def __init__(self, story: Story, rng: np.random.Generator, wording: int):
        self.story, self.rng, self.wording = story, rng, wording
        self.stays: dict[int, list[Sighting]] = {}
        for seen in story.sightings:
            self.stays.setdefault(seen.who, []).append(seen)
        self.steady = [who for who in self.stays if all(s.recolour is None for s in self.stays[who])]
        self.single = [who for who in self.stays if len(self.stays[who]) == 1]
        self.looks = {(story.cast[w].colour, story.cast[w].shape) for w in self.stays}
        self.looks |= {(s.recolour[1], story.cast[s.who].shape) for s in story.sightings if s.recolour}

    def _make(
        self, kind: str, topic: str, words: dict[str, str], answer: str, spans: list, shows: list, steps: list
    ) -> Question:
        template = str(self.rng.choice(TEMPLATES[topic][self.wording]))
        return Question(kind, topic, template.format(**words) + "?", answer, tuple(spans), tuple(shows), tuple(steps))

    def _name(self, who: int) -> str:
        return self.story.cast[who].name

    def _look(self, who: int) -> tuple[str, str]:
        return self.story.cast[who].colour, self.story.cast[who].shape

    def exists(self) -> list[Question]:
        made = []
        for who in self.steady:
            seen = self.stays[who][0]
            steps = [("point", (seen.start, seen.end)), ("word", "yes")]
            made.append(
                self._make(
                    "exists",
                    "exists",
                    {"o": self._name(who)},
                    "yes",
                    [(seen.start, seen.end)],
                    [self._look(who)],
                    steps,
                )
            )
        colours, shapes = {c for c, _ in self.looks}, {s for _, s in self.looks}
        absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in self.looks and c in colours and s in shapes]
        if self.story.split == "train":  # a combination that is only ever absent would be learnt as absent
            absent = [look for look in absent if not held_out(*look)]
        for i in self.rng.permutation(len(absent))[: len(made)]:
            c, s = absent[i]
            made.append(self._make("exists", "exists", {"o": f"{c} {s}"}, "no", [], [(c, s)], [("word", "no")]))
        return made

    def _attribute(self, topic: str, value: int) -> list[Question]:
        made = []
        for who in self.steady:
            look = self._look(who)
            asked = look[1 - value]
            if sum(other[1 - value] == asked for other in self.looks) != 1:
                continue
            seen = self.stays[who][0]
            shows = [(None, asked)] if value == 0 else [(asked, None)]
            steps = [("point", (seen.start, seen.end)), ("word", look[value])]
            name = {"s": asked} if value == 0 else {"c": asked}
            made.append(
                self._make(
                    "attribute", topic, name, look[value], [(s.start, s.end) for s in self.stays[who]], shows, steps
                )
            )
        return made

    def colour(self) -> list[Question]:
        return self._attribute("colour", 0)

    def shape(self) -> list[Question]:
        return self._attribute("shape", 1)

    def _recolours(self) -> list[tuple[int, Sighting, float, str]]:
        return [(w, s, *s.recolour) for w in self.single for s in self.stays[w] if s.recolour is not None]

    def turned(self) -> list[Question]:
        return [
            self._make(
                "attribute",
                "turned",
                {"o": self._name(who)},
                colour,
                [(second, seen.end)],
                [self._look(who), (colour, self._look(who)[1])],
                [("point", (second, seen.end)), ("word", colour)],
            )
            for who, seen, second, colour in self._recolours()
        ]

    def number(self) -> list[Question]:
        made = []
        for who in self.steady:
            number = self.story.cast[who].number
            if number is not None:
                spans = [(s.start, s.end) for s in self.stays[who]]
                steps = [("point", spans[0]), ("word", str(number))]
                made.append(
                    self._make("number", "number", {"o": self._name(who)}, str(number), spans, [self._look(who)], steps)
                )
        return made

    def _when(
        self,
        topic: str,
        words: dict[str, str],
        second: float,
        reach: tuple[float, float],
        shows: list,
        kind: str = "when",
    ) -> Question:
        steps = [("point", (second - reach[0], second + reach[1]))]
        return self._make(kind, topic, words, f"{second:.2f}", [(second - reach[0], second + reach[1])], shows, steps)

    def appear(self) -> list[Question]:
        return [
            self._when("appear", {"o": self._name(w)}, self.stays[w][0].start, (0, 1), [self._look(w)])
            for w in self.single
            if w in self.steady
        ]

    def vanish(self) -> list[Question]:
        return [
            self._when("vanish", {"o": self._name(w)}, self.stays[w][0].end, (1, 1), [self._look(w)])
            for w in self.single
            if w in self.steady
        ]

    def bounce(self) -> list[Question]:
        made = []
        for who in self.stays:
            hits = [second for s in self.stays[who] for second, _ in s.bounces]
            if len(hits) == 1:
                made.append(
                    self._when("bounce", {"o": self._name(who)}, hits[0], (CONTACT, CONTACT), [self._look(who)])
                )
        return made

    def recolour(self) -> list[Question]:
        return [
            self._when(
                "recolour", {"o": self._name(w), "c2": c}, second, (1, 1), [self._look(w), (c, self._look(w)[1])]
            )
            for w, _, second, c in self._recolours()
        ]

    def _cards(self, topic: str, letter: str, cards: tuple[Card, ...], kind: str, show: str) -> list[Question]:
        once = [c for c in cards if sum(other.text == c.text for other in cards) == 1]
        return [self._when(topic, {letter: c.text}, c.start, (0, 1.0), [(show, c.text)], kind) for c in once]

    def word(self) -> list[Question]:
        return self._cards("word", "w", self.story.words, "when", "word")

    def photograph(self) -> list[Question]:
        return self._cards("photograph", "p", self.story.photographs, "needle", "photograph")

    def duration(self) -> list[Question]:
        made = []
        for who in self.single:
            if who in self.steady:
                seen = self.stays[who][0]
                steps = [
                    ("point", (seen.start, seen.start + 1)),
                    ("point", (seen.end - 1, seen.end + 1)),
                    ("word", "<span>"),
                ]
                answer = f"{seen.end - seen.start:.2f}"
                made.append(
                    self._make(
                        "duration",
                        "duration",
                        {"o": self._name(who)},
                        answer,
                        [(seen.start, seen.end)],
                        [self._look(who)],
                        steps,
                    )
                )
        return made

    def visits(self) -> list[Question]:
        made = []
        for who in self.steady:
            stays = self.stays[who]
            steps = [("point", (s.start, s.start + 1)) for s in stays] + [("word", str(len(stays)))]
            spans = [(s.start, s.end) for s in stays]
            made.append(
                self._make("count", "visits", {"o": self._name(who)}, str(len(stays)), spans, [self._look(who)], steps)
            )
        return made

    def bounces(self) -> list[Question]:
        made = []
        for who in self.steady:
            hits = [second for s in self.stays[who] for second, _ in s.bounces]
            if 1 <= len(hits) <= 6:
                reach = [(h - CONTACT, h + CONTACT) for h in hits]
                steps = [*(("point", r) for r in reach), ("word", str(len(hits)))]
                made.append(
                    self._make(
                        "count", "bounces", {"o": self._name(who)}, str(len(hits)), reach, [self._look(who)], steps
                    )
                )
        return made

    def _first(self, who: int) -> tuple[float, float]:
        seen = self.stays[who][0]
        return seen.start, min(seen.start + 1, seen.end)

    def order(self) -> list[Question]:
        made = []
        for _ in range(6):
            if len(self.steady) < 3:
                break
            three = [int(w) for w in self.rng.permutation(self.steady)[:3]]
            starts = [self._first(w)[0] for w in three]
            if min(abs(a - b) for i, a in enumerate(starts) for b in starts[:i]) < 4:
                continue
            winner = three[int(np.argmin(starts))]
            look = self._look(winner)
            steps = [
                *(("point", self._first(w)) for w in sorted(three, key=lambda w: self._first(w)[0])),
                ("word", look[0]),
                ("word", look[1]),
            ]
            words = dict(zip("abd", (self._name(w) for w in three), strict=True))
            made.append(
                self._make(
                    "order",
                    "order",
                    words,
                    " ".join(look),
                    [self._first(w) for w in three],
                    [self._look(w) for w in three],
                    steps,
                )
            )
        return made

    def before_after(self) -> list[Question]:
        made = []
        for _ in range(6):
            if len(self.steady) < 2:
                break
            a, b = (int(w) for w in self.rng.permutation(self.steady)[:2])
            if abs(self._first(a)[0] - self._first(b)[0]) < 4:
                continue
            answer = "before" if self._first(a)[0] < self._first(b)[0] else "after"
            steps = [("point", self._first(a)), ("point", self._first(b)), ("word", answer)]
            words = {"a": self._name(a), "b": self._name(b)}
            made.append(
                self._make(
                    "before/after",
                    "before/after",
                    words,
                    answer,
                    [self._first(a), self._first(b)],
                    [self._look(a), self._look(b)],
                    steps,
                )
            )
        return made


def vocabulary() -> list[str]:
    """Every word that a question or an answer can hold, sorted."""
    words = {w for train, rest in TEMPLATES.values() for t in train + rest for w in t.split() if not w.startswith("{")}
    words |= {*COLOURS, *SHAPES, *WORDS, *PHOTOGRAPHS, "yes", "no", "before", "after", *map(str, range(10))}
    return sorted(words)
