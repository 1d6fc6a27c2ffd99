"""Simulated readers: right about what they saw, guessing about what they did not.

No pixels and no model: a reader is given the times of the frames (or of the memories) that it would look at, and the
story's truth tells whether the evidence of a question lies in them. It measures what a choice of frames can show at
best, apart from what any model makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from seefar.memory.base import Memory
from seefar.sequence import VisualSequence
from seefar.synthetic.referring import Choice, Evidence
from seefar.synthetic.shapes import COLOURS, PHOTOGRAPHS, SHAPES, WORDS
from seefar.synthetic.story import Story
from seefar.training.worlds import scene

_PLACE = {
    seen: place
    for place, seen in enumerate(
        [(colour, shape) for colour in COLOURS for shape in SHAPES]
        + [("word", word) for word in WORDS]
        + [("photograph", name) for name in PHOTOGRAPHS]
    )
}


def stills(times: Iterable[float]) -> np.ndarray:
    """(K, 2) spans of single frames at these seconds."""
    seconds = np.asarray(list(times), float)
    return np.stack([seconds, seconds], -1)


def some(spans: np.ndarray, most: int, *seeds: int) -> np.ndarray:
    """At most ``most`` of the spans, drawn at random, in their order: a reader that has no use for more."""
    if len(spans) <= most:
        return spans
    return spans[np.sort(np.random.default_rng([*seeds, 31]).permutation(len(spans))[:most])]


def symbols(stories: Sequence[Story], rate: float = 1.0) -> VisualSequence:
    """What each frame shows, from the stories' truth: (B, T, 96), one place for every look, word and photograph.

    The last place is always 1, the scenery. The stories must be of one length, in seconds.
    """
    if len({story.seconds for story in stories}) != 1:
        raise ValueError(f"symbols: stories must be of one length, got {sorted({s.seconds for s in stories})}")
    times = np.arange(round(stories[0].seconds * rate)) / rate
    shown = torch.zeros(len(stories), len(times), len(_PLACE) + 1)
    shown[..., -1] = 1
    for b, story in enumerate(stories):
        for t, second in enumerate(times.tolist()):
            at = scene(story, second)
            places = [_PLACE[thing.colour, thing.shape] for thing in at.things] + [_PLACE[card] for card in at.cards]
            shown[b, t, places] = 1
    return VisualSequence.of_grid(shown[:, :, None, None], torch.from_numpy(times))


def remembered(stories: Sequence[Story], memory: Memory, rate: float = 1.0) -> list[np.ndarray]:
    """For each story the (K, 2) spans of what a fresh memory holds, written at ``rate`` symbols a second."""
    memory.write(symbols(stories, rate))
    held = memory.read(memory.capacity)
    return [span[mask].numpy() for span, mask in zip(held.span, held.mask, strict=True)]


def sees(spans: np.ndarray, evidence: Sequence[Sequence[Evidence]]) -> bool:
    """Whether every group of evidence has a member that one of the spans shows.

    A span shows it if at least half of the span's time lies within ``shown`` and the span touches ``at``; a single
    frame shows it if it lies in both.
    """
    return all(any(_shows(spans, each) for each in group) for group in evidence)


def replies(
    questions: Mapping[str, Choice], spans: Mapping[str, np.ndarray] | np.ndarray, *, seed: int = 0
) -> dict[str, str]:
    """The answer of a reader to each question, such as "B. red ring": the right one if it `sees` the evidence.

    Else a guess, equal for all readers of one seed, each option as likely.

    Args:
        questions: by id.
        spans: what the reader looks at; by the id of the question, or the same for all.
        seed: of the guesses.
    """
    said = {}
    for number, (key, question) in enumerate(questions.items()):
        look = spans if isinstance(spans, np.ndarray) else spans[key]
        guess = int(np.random.default_rng([seed, number, 59]).integers(len(question.options)))
        choice = question.answer if sees(look, question.evidence) else guess
        said[key] = f"{chr(ord('A') + choice)}. {question.options[choice]}"
    return said


def _shows(spans: np.ndarray, evidence: Evidence) -> bool:
    start, end = spans.T
    within = np.minimum(end, evidence.shown[1]) - np.maximum(start, evidence.shown[0])
    touches = (start <= evidence.at[1]) & (end >= evidence.at[0])
    return bool((touches & (within >= 0) & (within >= (end - start) / 2)).any())
