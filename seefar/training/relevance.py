"""Teaching the dual encoder of ``pico`` which frames a question is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seefar.synthetic.shapes import PHOTOGRAPHS, SHAPES, WORDS
from seefar.training.worlds import COLOUR_LIST, Look, Reel, Thing, phrase, some_look, wording
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText

CARDS: list[Look] = [*(("word", w) for w in WORDS), *(("photograph", p) for p in PHOTOGRAPHS)]


class Supervised(nn.Module):
    """The dual encoder with a head that names what stands at a shape's centre; the head is dropped after training."""

    def __init__(self, eyes: FrameText):
        super().__init__()
        self.eyes = eyes
        dim = eyes.place.shape[1]
        self.names = nn.Linear(dim, len(COLOUR_LIST) + len(SHAPES) + 11 + 1)


def relevance_batch(
    films: list[Reel], words: Words, *, frames: int = 160, queries: int = 56, jitter: float = 0.0
) -> Callable[[int], dict[str, Any]]:
    """Frames of many films against phrases and questions, with the truth of every pair.

    Args:
        films: where the frames come from; some may have no questions.
        words: the vocabulary.
        frames: how many a step.
        queries: how many texts a step.
        jitter: how far contrast (and brightness, in 100 grey levels) may be off on each frame.
    """
    active = [(f, t) for f, film in enumerate(films) for t, s in enumerate(film.scenes) if s.things or s.cards]
    photos = [(f, t) for f, t in active if any(c[0] == "photograph" for c in films[f].scenes[t].cards)]

    def make(step: int) -> dict[str, Any]:
        rng = np.random.default_rng([step, 11])
        picks = [active[i] for i in rng.integers(len(active), size=int(frames * 0.75))]
        picks += [photos[i] for i in rng.integers(len(photos), size=int(frames * 0.08))]
        picks += [
            (f, int(rng.integers(len(films[f].scenes)))) for f in rng.integers(len(films), size=frames - len(picks))
        ]
        scenes = [films[f].scenes[t] for f, t in picks]
        texts, labels = [], []
        for q in range(queries):
            questions = films[picks[rng.integers(frames)][0]].questions
            if q % 4 == 3 and questions:  # a real question of one of these films
                question = questions[rng.integers(len(questions))]
                looks = list(question.shows[:1] if question.topic in ("turned", "recolour") else question.shows)
                texts.append(question.question)
            else:
                shown = scenes[rng.integers(frames)] if rng.random() < 0.75 else None
                looks = [some_look(rng, shown) for _ in range(int(rng.choice([1, 2, 3], p=[0.76, 0.12, 0.12])))]
                if len(looks) > 1:
                    looks = [
                        look for look in looks if None not in look and look[0] not in ("word", "photograph")
                    ] or looks[:1]
                texts.append(wording(rng, looks))
            labels.append([any(s.shows(look) for look in looks) for s in scenes])
        named = [(n, *t.centre, *thing_names(t), t.squashed) for n, s in enumerate(scenes) for t in s.things]
        pixels = torch.stack([films[f].frames[t] for f, t in picks])
        if jitter:
            gain, lift = (torch.from_numpy(rng.uniform(-jitter, jitter, (frames, 1, 1, 1))).float() for _ in range(2))
            pixels = (pixels * (1 + gain) + 100 * lift).clamp(0, 255).to(torch.uint8)
        shown = [(n, CARDS.index(s.cards[0])) for n, s in enumerate(scenes) if s.cards]
        return {
            "frames": pixels,
            "cards": torch.tensor(shown).reshape(-1, 2),
            "card words": padded_codes([words.encode(phrase(rng, card)) for card in CARDS]),
            "words": padded_codes([words.encode(text) for text in texts]),
            "labels": torch.tensor(labels, dtype=torch.float32),
            "named": torch.tensor(named, dtype=torch.float32),
        }

    return make


def thing_names(thing: Thing) -> tuple[int, int, int]:
    """Class numbers of colour, shape and number, 10 where it carries none."""
    number = 10 if thing.number is None else thing.number
    return COLOUR_LIST.index(thing.colour), SHAPES.index(thing.shape), number


def padded_codes(codes: list[list[int]]) -> Tensor:
    """Word numbers as one (B, L) tensor, 0 where a text has ended."""
    padded = torch.zeros(len(codes), max(map(len, codes)), dtype=torch.int64)
    for row, code in zip(padded, codes, strict=True):
        row[: len(code)] = torch.tensor(code)
    return padded


def relevance_loss(model: nn.Module, data: dict[str, Any], *, contrast: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """Sigmoid loss (arXiv 2303.15343) of every frame with every text, plus cross entropy of the centres' names.

    Args:
        model: a ``Supervised``.
        data: what ``relevance_batch`` made.
        contrast: weight of telling each word or photograph from all the others (InfoNCE, arXiv 1807.03748). The sigmoid
            alone leaves most of them at "some photograph or other" for long.
    """
    assert isinstance(model, Supervised)
    eyes = model.eyes
    with torch.autocast("cpu", torch.bfloat16):
        seq = eyes.watch(data["frames"], torch.arange(len(data["frames"])))
        heard, worth = eyes.hear(data["words"])
        logits_QLN = eyes.relevance(seq.tokens[0], heard, worth)
    T, h, w = seq.grid or (0, 0, 0)
    logits = logits_QLN.float().amax(1).reshape(-1, T, h * w).amax(-1)
    labels = data["labels"]
    match = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=torch.tensor(3.0))
    named = data["named"]
    cell = (named[:, 1] * h).long().clamp(0, h - 1) * w + (named[:, 2] * w).long().clamp(0, w - 1)
    at = seq.tokens[0].reshape(T, h * w, -1)[named[:, 0].long(), cell].float()
    colour, shape, number, squashed = model.names(at).split([len(COLOUR_LIST), len(SHAPES), 11, 1], -1)
    truth = named[:, 3:].long()
    legible = truth[:, 3] == 0
    number_loss = F.cross_entropy(number[legible], truth[legible, 2])
    names = F.cross_entropy(colour, truth[:, 0]) + F.cross_entropy(shape, truth[:, 1]) + number_loss
    names = names + F.binary_cross_entropy_with_logits(squashed[:, 0], named[:, 6])
    wrong = ((logits > 0) != (labels > 0)).float()
    figures = {
        "match": float(match.detach()),
        "missed": float(wrong[labels > 0].mean()),
        "false": float(wrong[labels == 0].mean()),
        "colour": float((colour.argmax(-1) == truth[:, 0]).float().mean()),
        "shape": float((shape.argmax(-1) == truth[:, 1]).float().mean()),
        "number": float((number.argmax(-1) == truth[:, 2])[legible].float().mean()),
    }
    loss = 10 * match + 0.5 * names
    if contrast and len(data["cards"]):
        frame, card = data["cards"].T
        with torch.autocast("cpu", torch.bfloat16):
            heard, worth = eyes.hear(data["card words"])
            tokens = seq.tokens[0].reshape(T, h * w, -1)[frame].flatten(0, 1)
            each = eyes.relevance(tokens, heard, worth).float().unflatten(-1, (len(frame), -1))
        # summed softly: the maximum can sit on the word "photograph", which every name shares, and teach no name
        of_cards = each.logsumexp((1, 3)).T
        loss = loss + contrast * F.cross_entropy(of_cards, card)
        figures["card"] = float((of_cards.argmax(-1) == card).float().mean())
    return loss, figures
