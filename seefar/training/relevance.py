"""Teaching the dual encoder of ``pico`` which frames a question is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seefar.synthetic.shapes import PHOTOGRAPHS, WORDS
from seefar.training.names import altered, name_targets, names_loss
from seefar.training.painted import paint
from seefar.training.worlds import Look, Reel, phrase, some_look, wording
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText

CARDS: list[Look] = [*(("word", w) for w in WORDS), *(("photograph", p) for p in PHOTOGRAPHS)]


def relevance_batch(
    films: list[Reel],
    words: Words,
    grid: tuple[int, int],
    *,
    frames: int = 160,
    queries: int = 56,
    jitter: float = 0.0,
    alter: float = 0.0,
    painted: float = 0.0,
) -> Callable[[int], dict[str, Any]]:
    """Frames of many films against phrases and questions, with the truth of every pair.

    Args:
        films: where the frames come from; some may have no questions.
        words: the vocabulary.
        grid: patches of a frame, (rows, columns).
        frames: how many a step.
        queries: how many texts a step.
        jitter: how far contrast (and brightness, in 100 grey levels) may be off on each frame.
        alter: share of the frames whose colours are mixed, and share of those that are turned.
        painted: share of the frames that are painted afresh; the others come from the films.
    """
    active = [(f, t) for f, film in enumerate(films) for t, s in enumerate(film.scenes) if s.things or s.cards]
    photos = [(f, t) for f, t in active if any(c[0] == "photograph" for c in films[f].scenes[t].cards)]

    def make(step: int) -> dict[str, Any]:
        rng = np.random.default_rng([step, 11])
        filmed = frames - int(frames * painted)
        picks = [active[i] for i in rng.integers(len(active), size=int(filmed * 0.75))]
        picks += [photos[i] for i in rng.integers(len(photos), size=int(filmed * 0.08))]
        picks += [
            (f, int(rng.integers(len(films[f].scenes)))) for f in rng.integers(len(films), size=filmed - len(picks))
        ]
        drawn = [(films[f].frames[t], films[f].scenes[t]) for f, t in picks]
        drawn += paint(rng, (drawn[0][0].shape[1], drawn[0][0].shape[2]), frames - filmed)
        scenes = [scene for _, scene in drawn]
        pictures, targets, sure = zip(
            *(altered(frame, scene, name_targets(scene, grid), rng, alter) for frame, scene in drawn), strict=True
        )
        texts, labels = [], []
        for q in range(queries):
            questions = films[picks[rng.integers(filmed)][0]].questions
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
            labels.append(
                [
                    float(any(s.shows(look) for look in looks)) if all(map(known, looks)) else torch.nan
                    for s, known in zip(scenes, sure, strict=True)
                ]
            )
        pixels = torch.stack(pictures)
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
            "named": torch.stack(targets, 1),
        }

    return make


def padded_codes(codes: list[list[int]]) -> Tensor:
    """Word numbers as one (B, L) tensor, 0 where a text has ended."""
    padded = torch.zeros(len(codes), max(map(len, codes)), dtype=torch.int64)
    for row, code in zip(padded, codes, strict=True):
        row[: len(code)] = torch.tensor(code)
    return padded


def relevance_loss(model: nn.Module, data: dict[str, Any], *, contrast: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """Sigmoid loss (arXiv 2303.15343) of every frame with every text, plus cross entropy of the patches' names.

    Args:
        model: a ``FrameText``.
        data: what ``relevance_batch`` made.
        contrast: weight of telling each word or photograph from all the others (InfoNCE, arXiv 1807.03748). The sigmoid
            alone leaves most of them at "some photograph or other" for long.
    """
    assert isinstance(model, FrameText)
    seq = model.watch(data["frames"], torch.arange(len(data["frames"])))
    heard, worth = model.hear(data["words"])
    logits_QLN = model.relevance(seq.tokens[0], heard, worth)
    T, h, w = seq.grid or (0, 0, 0)
    logits = logits_QLN.amax(1).reshape(-1, T, h * w).amax(-1)
    labels = data["labels"]
    sure = ~labels.isnan()
    match = F.binary_cross_entropy_with_logits(logits[sure], labels[sure], pos_weight=torch.tensor(3.0))
    names, shares = names_loss(model.names(seq.tokens[0]), data["named"].flatten(1))
    wrong = ((logits > 0) != (labels > 0)).float()
    figures = {
        "match": float(match.detach()),
        "missed": float(wrong[labels > 0].mean()),
        "false": float(wrong[labels == 0].mean()),
        **shares,
    }
    loss = 10 * match + names
    if contrast and len(data["cards"]):
        frame, card = data["cards"].T
        heard, worth = model.hear(data["card words"])
        tokens = seq.tokens[0].reshape(T, h * w, -1)[frame].flatten(0, 1)
        each = model.relevance(tokens, heard, worth).unflatten(-1, (len(frame), -1))
        # summed softly: the maximum can sit on the word "photograph", which every name shares, and teach no name
        of_cards = each.logsumexp((1, 3)).T
        loss = loss + contrast * F.cross_entropy(of_cards, card)
        figures["card"] = float((of_cards.argmax(-1) == card).float().mean())
    return loss, figures
