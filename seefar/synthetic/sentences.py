"""Text about rendered worlds, without end: captions, questions with their answers, and facts hidden among them.

A world holds three coloured shapes that come, carry a digit and go; its text tells so and then asks about it. Worlds of
the two splits never meet, and looks that ``shapes.held_out`` names are told of in held-out text alone.

B texts, N units of a text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from seefar.synthetic.shapes import COLOURS, SHAPES, WORDS, held_out

Split = Literal["train", "held-out"]

TOLD = {
    "comes": ("a {o} comes at second {n} .", "at second {n} a {o} comes into view ."),
    "carries": ("the {o} carries the digit {n} .", "a {n} is written on the {o} ."),
    "goes": ("the {o} goes at second {n} .", "at second {n} the {o} goes away ."),
}
ASKED = {
    "comes": ("when does the {o} come ? {n} .", "at which second do we first see the {o} ? {n} ."),
    "carries": ("which digit is on the {o} ? {n} .", "what digit does the {o} carry ? {n} ."),
    "goes": ("when does the {o} go ? {n} .", "at which second do we last see the {o} ? {n} ."),
}
PASSKEY = ("the passkey is {n} .", "what is the passkey ? {n} .")
ENTRY = ("{o} has the number {n} .", "which number has {o} ? {n} .")


@dataclass(frozen=True)
class Units:
    """What a text is made of, characters or words, and their numbers.

    Args:
        names: each unit once; its place is its number.
        cut: a text into units.
        glue: what stands between two units when they are written.
    """

    names: tuple[str, ...]
    cut: Callable[[str], list[str]]
    glue: str

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's units.

        Raises:
            ValueError: a unit is unknown.
        """
        places, units = _places(self.names), self.cut(text)
        if unknown := sorted(set(units) - set(places)):
            raise ValueError(f"Units: {unknown[0]!r} is none of the {len(self.names)} units; text is lower case")
        return [places[unit] for unit in units]

    def decode(self, ids: Tensor) -> str:
        """The text of ids (N,)."""
        return self.glue.join(self.names[i] for i in ids.tolist())


@cache
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def _vocabulary() -> tuple[str, ...]:
    templates = [text for kind in (TOLD, ASKED) for texts in kind.values() for text in texts] + [*PASSKEY, *ENTRY]
    plain = {word for text in templates for word in text.split() if not word.startswith("{")}
    return tuple(sorted(plain | set(COLOURS) | set(SHAPES) | set(WORDS)) + list("0123456789"))


CHARACTERS = Units(tuple(" .?0123456789abcdefghijklmnopqrstuvwxyz"), list, "")
WORDS_OF_TEXT = Units(_vocabulary(), lambda text: re.findall(r"[a-z]+|[0-9]|[.?]", text), " ")


def sentences(seed: int, split: Split = "train") -> Iterator[str]:
    """The sentences of one world after another, for ever; the same seed and split give the same.

    Raises:
        ValueError: no such split.
    """
    if split not in ("train", "held-out"):
        raise ValueError(f"sentences: split is 'train' or 'held-out', got {split!r}")
    draw = random.Random(f"{split} {seed}")
    looks = [f"{c} {s}" for c in COLOURS for s in SHAPES if split == "held-out" or not held_out(c, s)]
    while True:
        facts = [
            (what, look, str(first + draw.randrange(size)))
            for look in draw.sample(looks, 3)
            for what, first, size in (("comes", 0, 5), ("carries", 0, 10), ("goes", 5, 5))
        ]
        for forms, chosen in ((TOLD, facts), (ASKED, draw.sample(facts, 4))):
            for what, look, number in chosen:
                yield draw.choice(forms[what]).format(o=look, n=number) + " "


def texts(count: int, length: int, *, units: Units = CHARACTERS, split: Split = "train", seed: int = 0) -> Tensor:
    """(B, N) int64, ``count`` texts of ``length`` units, each begun with a fresh world.

    Raises:
        ValueError: nothing to make, or no such split.
    """
    _check("texts", count, length)
    return torch.tensor([_filled(_seed(seed, i), split, units, length) for i in range(count)])


@dataclass(frozen=True)
class Recalled:
    """Texts in which something is told and later asked for.

    Args:
        ids: (B, N).
        answers: (B, N) True where a digit of an answer stands.
        last: (B, N) True where a digit of the last answer stands.
    """

    ids: Tensor
    answers: Tensor
    last: Tensor

    def found_by(self, logits: Tensor) -> Tensor:
        """(B,) whether the likeliest units by logits (B, N, V) over ``ids`` are those of the last answer."""
        right = logits[:, :-1].argmax(-1) == self.ids[:, 1:]
        return (right | ~self.last[:, 1:]).all(-1)


def passkey(
    count: int,
    length: int,
    *,
    digits: int = 1,
    depth: float | None = None,
    asks: int = 1,
    units: Units = WORDS_OF_TEXT,
    split: Split = "train",
    seed: int = 0,
) -> Recalled:
    """A number told once among other text, and asked for at the end; texts of ``length`` units.

    Args:
        count: texts.
        length: N.
        digits: of the number.
        depth: where it is told, 0 at the beginning and 1 right before the question; None for anywhere in the text.
        asks: questions, the last of them at the end and the others anywhere after the number was told.
        units: characters or words.
        split: whose text stands around it.
        seed: decides everything.

    Raises:
        ValueError: a depth outside of [0, 1], fewer than one digit or question, or a text too short for them.

    Reference: Mohtashami and Jaggi, arXiv 2305.16300.
    """
    _check("passkey", count, length, digits, asks)
    if depth is not None and not 0 <= depth <= 1:
        raise ValueError(f"passkey: depth lies in [0, 1], got {depth}")
    rows = []
    for i in range(count):
        draw = random.Random(f"passkey {split} {seed} {i}")
        number = " ".join(str(draw.randrange(10)) for _ in range(digits))
        told, asked = (units.encode(form.format(n=number) + " ") for form in PASSKEY)
        room = length - len(told) - asks * len(asked)
        if room < 0:
            raise ValueError(
                f"passkey: {length} units have no room for {asks} questions; give at least {length - room}"
            )
        text = _filled(_seed(seed, i), split, units, room)
        ends = [0] + [at + 1 for at, unit in enumerate(text) if units.names[unit] == "."]
        where = min(ends, key=lambda end: abs(end - depth * room)) if depth is not None else draw.choice(ends)
        later = sorted(draw.choice([end for end in ends if end >= where]) for _ in range(asks - 1))
        rows.append(_woven(text, [(where, told, False), *((at, asked, True) for at in [*later, room])], units, number))
    return _recalled(rows)


def phonebook(
    count: int, entries: int, *, digits: int = 1, units: Units = WORDS_OF_TEXT, split: Split = "train", seed: int = 0
) -> Recalled:
    """Names with their numbers one after another, then a question about one of them.

    Args:
        count: texts.
        entries: names, at most 256: pairs of words.
        digits: of a number.
        units: characters or words.
        split: they share no text, since a number is drawn anew for every name.
        seed: decides everything.

    Raises:
        ValueError: more entries than names, or fewer than one.

    Reference: Jelassi et al., arXiv 2402.01032; Ren et al., Samba, arXiv 2406.07522.
    """
    _check("phonebook", count, entries, digits)
    names = [f"{a} {b}" for a in WORDS for b in WORDS]
    if entries > len(names):
        raise ValueError(f"phonebook: there are {len(names)} names, got {entries} entries")
    rows = []
    for i in range(count):
        draw = random.Random(f"phonebook {split} {seed} {i}")
        book = [(who, " ".join(str(draw.randrange(10)) for _ in range(digits))) for who in draw.sample(names, entries)]
        told = [unit for who, number in book for unit in units.encode(ENTRY[0].format(o=who, n=number) + " ")]
        who, number = draw.choice(book)
        asked = units.encode(ENTRY[1].format(o=who, n=number) + " ")
        rows.append(_woven(told, [(len(told), asked, True)], units, number))
    return _recalled(rows)


Row = tuple[list[int], list[bool], list[bool]]


def _woven(text: list[int], pieces: list[tuple[int, list[int], bool]], units: Units, number: str) -> Row:
    """The text with pieces put in at their places, and where the answers of those that are questions stand."""
    ids: list[int] = []
    answers: list[bool] = []
    last: list[bool] = []
    before = 0
    tail = len(units.encode(" . ")) + len(units.encode(number))
    for place, piece, question in pieces:
        chunk = text[before:place]
        digit = [question and at >= len(piece) - tail and units.names[unit].isdigit() for at, unit in enumerate(piece)]
        ids += chunk + piece
        answers += [False] * len(chunk) + digit
        last = [False] * (len(ids) - len(piece)) + digit
        before = place
    rest = text[before:]
    return ids + rest, answers + [False] * len(rest), last + [False] * len(rest)


def _recalled(rows: list[Row]) -> Recalled:
    ids, answers, last = (torch.tensor([row[part] for row in rows]) for part in range(3))
    return Recalled(ids, answers, last)


def _filled(seed: int, split: Split, units: Units, length: int) -> list[int]:
    ids: list[int] = []
    for sentence in sentences(seed, split):
        if len(ids) >= length:
            break
        ids += units.encode(sentence)
    return ids[:length]


def _seed(seed: int, row: int) -> int:
    return seed * 1_000_003 + row


def _check(who: str, *sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"{who}: every size must be at least 1, got {sizes}")
