"""Whether a choice of frames still holds every moment that an answer rests on: selection judged without a reader.

Films are drawn from their truth and scored by the dual encoder that ships; what is left out is a language model. A
question counts as answered where at least one kept frame lies in each of its moments, so this is the best that any
reader could do with those frames.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.compress.base import Compressor
from seefar.compress.relevance import Relevance
from seefar.evals.protocols import Curves, Setting, equal_budget
from seefar.sequence import VisualSequence
from seefar.synthetic.film import frames
from seefar.synthetic.questions import Question, ask_about
from seefar.synthetic.story import Story
from seefar.synthetic.visits import write_visits
from seefar.vlm.eyes import Asked, load_eyes
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText

CHUNK = 64


@dataclass(frozen=True)
class Watched:
    """A film as the dual encoder saw it at one frame a second, with what can be asked about it.

    Args:
        seq: one row, all of its tokens. asked: questions, each with the (1, N) relevance logits of the tokens.
    """

    seq: VisualSequence
    asked: tuple[tuple[Question, Tensor], ...]


@torch.inference_mode()
def watch(
    story: Story, questions: Sequence[Question], eyes: FrameText, words: Words, *, size: tuple[int, int] = (180, 320)
) -> Watched:
    """A story drawn at one frame a second, seen, and scored for each question.

    Args:
        story: what happens.
        questions: about it.
        eyes: as ``load_eyes`` gives them.
        words: of those eyes.
        size: (H, W) that the frames are drawn at, before they shrink to those of the eyes.
    """
    drawn = frames(story, rate=1.0, height=size[0], width=size[1])
    seen = [eyes.watch(some, seconds) for some, seconds in _shrunk(drawn, eyes.size)]
    seq = VisualSequence.cat(seen)
    return Watched(seq, tuple((question, Asked(eyes, words, question.question)(seq)) for question in questions))


def visit_films(seed: int, count: int, seconds: float, visits: Sequence[int]) -> list[Watched]:
    """Films in which each of a cast comes a set number of times, with the question how often, for each of the cast."""
    eyes, words = load_eyes()
    stories = [write_visits(1000 * seed + k, seconds, visits) for k in range(count)]
    asked = [[q for q in ask_about(story, per_topic=len(visits)) if q.topic == "visits"] for story in stories]
    return [watch(story, questions, eyes, words) for story, questions in zip(stories, asked, strict=True)]


@dataclass(frozen=True)
class Choice:
    """A way to choose frames, and what its scores are spoilt by.

    Args:
        make: a selector from a relevance.
        astray: choose by the scores of the question so many places further on, for a control.
        noise: standard deviation, in logits, of what is added to the scores of each frame; it lasts about ten seconds,
            as that of real encoders does, which like one view of a thing better than another.
    """

    make: Callable[[Relevance], Compressor]
    astray: int = 0
    noise: float = 0.0


def answerable(
    choice: Choice, films: Sequence[Watched], budget: int, moments: Container[int] = range(1, 100)
) -> tuple[float, int]:
    """The share of questions of which every moment has a kept frame, and the most tokens that were kept.

    Args:
        choice: of frames.
        films: watched.
        budget: in tokens.
        moments: asks only what rests on so many moments.

    Raises:
        ValueError: no film has such a question.
    """
    held, spent = [], 0
    for f, film in enumerate(films):
        for i, (question, _) in enumerate(film.asked):
            if len(question.spans) in moments:
                logits = film.asked[(i + choice.astray) % len(film.asked)][1]
                scores = logits + choice.noise * _drift(film.seq, 100 * f + i)
                kept = choice.make(lambda seq, query, given=scores: given)(film.seq, budget)  # type: ignore[misc]
                held.append(holds_all(kept, question.spans))
                spent = max(spent, int(kept.count.max()))
    if not held:
        raise ValueError(f"answerable: no question rests on {moments} moments; ask other ones, or write other stories")
    return sum(held) / len(held), spent


def selection(
    choices: Mapping[str, Choice],
    films: Callable[[int], Sequence[Watched]],
    sets: Mapping[str, Container[int]],
    budgets: Sequence[int],
    setting: Setting,
    *,
    name: str = "selection",
) -> dict[str, Curves]:
    """The share of answerable questions by set, choice and budget, every choice held to the budget.

    Args:
        choices: the arms.
        films: of a seed; asked for again and again, so cache it.
        sets: questions by the number of moments they rest on.
        budgets: in tokens.
        setting: the scale.
        name: of the experiment.
    """

    def arm(choice: Choice, moments: Container[int]) -> Callable[[int], Callable[[int], tuple[float, int]]]:
        return lambda seed: lambda budget: answerable(choice, films(seed), budget, moments)

    return {
        which: equal_budget(
            {key: arm(choice, moments) for key, choice in choices.items()}, budgets, setting, name=f"{name} {which}"
        )
        for which, moments in sets.items()
    }


def holds_all(kept: VisualSequence, spans: Sequence[tuple[float, float]]) -> bool:
    """Whether each of the spans [start, end) of seconds has a token of the first row that begins in it."""
    seconds = kept.span[0, kept.mask[0], 0]
    return all(bool(((seconds >= start) & (seconds < end)).any()) for start, end in spans)


def _drift(seq: VisualSequence, seed: int) -> Tensor:
    """(1, N) noise of unit variance, the same over a frame, whose correlation falls to 1/e in ten frames."""
    assert seq.grid is not None
    fall = torch.exp(-torch.arange(50) / 10.0)
    white = torch.randn(seq.grid[0] + len(fall) - 1, generator=torch.Generator().manual_seed(seed))
    frames = F.conv1d(white[None, None], (fall / fall.norm())[None, None])[0, 0]
    return frames.repeat_interleave(len(seq) // seq.grid[0])[None]


def _shrunk(drawn: Iterator[np.ndarray], size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """(frames (T, 3, H, W) uint8, seconds) in chunks, each pixel the mean of the area it covers."""
    done = 0
    while some := list(islice(drawn, CHUNK)):
        pixels = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).float()
        seconds = torch.arange(done, done + len(some), dtype=torch.float64)
        yield F.interpolate(pixels, size=size, mode="area").round().to(torch.uint8), seconds
        done += len(some)
