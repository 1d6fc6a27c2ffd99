"""How ``pico`` is made: ``python -m seefar.training.pico`` renders films, trains both networks, writes the weights.

On two CPU cores: 10 minutes of rendering, 25 for the dual encoder, 25 for the language model. What to expect is printed
at the end of each stage and kept in ``results/pico.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seefar.memory.shortlist import Shortlist
from seefar.sequence import VisualSequence
from seefar.synthetic.questions import vocabulary
from seefar.synthetic.shapes import SHAPES
from seefar.training.fit import Progress, fit
from seefar.training.worlds import COLOUR_LIST, Reel, Thing, reels, some_look, wording
from seefar.vlm.pico import LEAST, MARGIN, PER_FRAME, THRESHOLD, Pico
from seefar.vlm.pointing import collate, gather_evidence, read_packed
from seefar.vlm.text import Words
from seefar.vlm.tiny import Evidence, FrameText, Narrator

FILMS = 120
STEPS = (2600, 4000)


class Supervised(nn.Module):
    """The dual encoder with a head that names what stands at a shape's centre; the head is dropped after training."""

    def __init__(self, eyes: FrameText):
        super().__init__()
        self.eyes = eyes
        dim = eyes.place.shape[1]
        self.names = nn.Linear(dim, len(COLOUR_LIST) + len(SHAPES) + 11 + 1)


def relevance_batch(
    films: list[Reel], words: Words, *, frames: int = 160, queries: int = 56
) -> Callable[[int], dict[str, Any]]:
    """Frames of many films against phrases and questions, with the truth of every pair."""
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
            if q % 4 == 3:  # a real question of one of these films
                questions = films[picks[rng.integers(frames)][0]].questions
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
        coded = [words.encode(text) for text in texts]
        padded = torch.zeros(queries, max(map(len, coded)), dtype=torch.int64)
        for row, code in zip(padded, coded, strict=True):
            row[: len(code)] = torch.tensor(code)
        named = [
            (n, *t.centre, *thing_names(t), t.squashed)
            for n, s in enumerate(scenes) for t in s.things
        ]  # fmt: skip
        return {
            "frames": torch.stack([films[f].frames[t] for f, t in picks]),
            "words": padded,
            "labels": torch.tensor(labels, dtype=torch.float32),
            "named": torch.tensor(named, dtype=torch.float32),
            "seed": step,
        }

    return make


def thing_names(thing: Thing) -> tuple[int, int, int]:
    """Class numbers of colour, shape and number, 10 where it carries none."""
    number = 10 if thing.number is None else thing.number
    return COLOUR_LIST.index(thing.colour), SHAPES.index(thing.shape), number


def relevance_loss(model: nn.Module, data: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """Sigmoid loss (arXiv 2303.15343) of every frame with every text, plus cross entropy of the centres' names."""
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
    return 10 * match + 0.5 * names, figures


@dataclass(frozen=True)
class Lesson:
    """One question of a film, ready for the language model: the tokens it is shown, and the answer as targets.

    Args:
        which: positions of the kept tokens in the film. heard, worth: the question as the dual encoder reads it.
        steps: a word's number, or (K,) bool of the tokens that may be pointed at.
    """

    film: int
    which: Tensor
    words: list[int]
    heard: Tensor
    worth: Tensor
    steps: list[Tensor | int]


@torch.inference_mode()
def lessons(
    eyes: FrameText, films: list[Reel], seen: list[VisualSequence], words: Words, *, progress: Progress | None = None
) -> list[Lesson]:
    """Every question of every film with its evidence: four in five chosen as ``pico`` chooses, the others evenly."""
    made = []
    rng = np.random.default_rng(5)
    P = eyes.grid[0] * eyes.grid[1]
    for f, (film, seq) in enumerate(zip(films, seen, strict=True)):
        if progress is not None:
            progress("lessons", f, len(films))
        seconds = seq.span[0, :, 0]
        tokens = seq.tokens[0].float()
        for question in film.questions:
            coded = words.encode(question.question)
            heard, worth = eyes.hear(torch.tensor([coded]))
            scores_TP = eyes.relevance(tokens, heard, worth).amax(1).reshape(-1, P)
            kind = rng.random()
            if kind < 0.8:
                which = _chosen(seq, scores_TP, eyes.grid)
            else:  # whole frames, or the best patches of more frames
                count, patches = (int(rng.integers(6, 15)), P) if kind < 0.9 else (int(rng.integers(20, 90)), PER_FRAME)
                at = torch.from_numpy(np.linspace(rng.uniform(0, 1), len(film.frames) - 1, count).astype(int))
                which = (at[:, None] * P + scores_TP[at].topk(patches, 1).indices.sort(1).values).flatten()
            steps = [
                words.index[str(value)] if what == "word" else _within(seconds[which], *value)
                for what, value in question.steps
            ]
            if all(isinstance(step, int) or step.any() for step in steps):
                made.append(Lesson(f, which, coded, heard[0], worth[0], [*steps, words.index["<end>"]]))
    return made


def _chosen(seq: VisualSequence, scores_TP: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions of the tokens that ``pico`` would keep."""
    capacity = 2000
    shortlist = Shortlist(
        lambda _: scores_TP.reshape(1, -1),
        capacity,
        per_frame=PER_FRAME,
        margin=MARGIN,
        threshold=THRESHOLD,
        least=LEAST,
    )
    shortlist.write(seq)
    kept = shortlist.read(capacity)
    row, column = (kept.box[0, :, 0] * grid[0]).round().long(), (kept.box[0, :, 1] * grid[1]).round().long()
    return kept.span[0, :, 0].long() * scores_TP.shape[1] + row * grid[1] + column


def _within(second: Tensor, first: float, last: float) -> Tensor:
    """Tokens inside [first, last), or where there are none the nearest ones within four seconds."""
    hit = (second >= first) & (second < last)
    if hit.any():
        return hit
    off = torch.maximum(first - second, second - last)
    return (off == off.min()) & (off < 4)


def lesson_batch(
    eyes: FrameText, seen: list[VisualSequence], made: list[Lesson], size: int
) -> Callable[[int], list[tuple[Lesson, Evidence]]]:
    """Lessons drawn at random, of like length within a batch."""
    by_length = sorted(range(len(made)), key=lambda i: len(made[i].which))

    @torch.inference_mode()
    def make(step: int) -> list[tuple[Lesson, Evidence]]:
        rng = np.random.default_rng([step, 13])
        spot, reach = int(rng.integers(len(made))), len(made) // 16
        near = np.clip(spot + rng.integers(-reach, reach + 1, size), 0, len(made) - 1)
        rows = []
        for lesson in (made[by_length[i]] for i in near):
            shown = seen[lesson.film].take(lesson.which[None]).map(Tensor.float)
            rows.append((lesson, gather_evidence(eyes, shown, lesson.heard, lesson.worth)))
        return rows

    return make


def lesson_loss(words: Words) -> Callable[[nn.Module, list[tuple[Lesson, Evidence]]], tuple[Tensor, dict[str, float]]]:
    """Mean negative log-likelihood of the steps; a pointer is right at any token inside the acceptable seconds."""

    def loss(model: nn.Module, rows: list[tuple[Lesson, Evidence]]) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, Narrator)
        evidence = collate([row[1] for row in rows])
        evidence = Evidence(*(part.clone() for part in evidence))
        B, K = evidence.mask_BK.shape
        L, S = max(len(r[0].words) for r in rows), max(len(r[0].steps) for r in rows)
        code = torch.zeros(B, L, dtype=torch.int64)
        heard = torch.zeros(B, L, rows[0][0].heard.shape[-1])
        given = torch.full((B, S), words.index["<answer>"])
        pointed = torch.full((B, S), -1)
        V = len(words)
        target = torch.zeros(B, S, V + K, dtype=torch.bool)
        for b, (lesson, proof) in enumerate(rows):
            code[b, : len(lesson.words)] = torch.tensor(lesson.words)
            heard[b, : len(lesson.words)] = lesson.heard
            for s, step in enumerate(lesson.steps):
                if isinstance(step, int):
                    target[b, s, step] = True
                    follow, at = step, -1
                else:
                    target[b, s, V : V + len(step)] = step
                    score = torch.where(step, proof.score_BK1[0, :, 0], -torch.inf)
                    follow, at = words.index["<point>"], int(score.argmax())
                if s + 1 < S:
                    given[b, s + 1], pointed[b, s + 1] = follow, at
        with torch.autocast("cpu", torch.bfloat16):
            seen = model.see(evidence)
            back = seen.gather(1, pointed.clamp(min=0)[..., None].expand(-1, -1, seen.shape[-1]))
            answer = model.word(given) + back * (pointed >= 0)[..., None]
            parts = [(model.ask(code, heard), code > 0), (seen, evidence.mask_BK), (answer, target.any(-1))]
            _, marks, hidden = read_packed(model, [(x.float(), m) for x, m in parts])
            scores = model.scores(hidden, marks, evidence.mask_BK)
        chance = scores.float().log_softmax(-1)
        right = torch.where(target, chance, -torch.inf).logsumexp(-1)
        real = target.any(-1)
        hit = target.gather(-1, chance.argmax(-1, keepdim=True))[..., 0]
        whole = (hit | ~real).all(1).float().mean()
        return -right[real].mean(), {
            "steps right": float(hit[real].float().mean()),
            "answers right": float(whole),
            "tokens": float(K),
        }

    return loss


def make(
    folder: Path, out: Path, *, films: int = FILMS, steps: tuple[int, int] = STEPS, progress: Progress | None = None
) -> dict[str, Any]:
    """Render, train both networks, write the weights; every stage resumes where it was stopped."""
    torch.manual_seed(0)
    began = time.perf_counter()
    words = Words(vocabulary())
    eyes, lm = FrameText(len(words)), Narrator(len(words))
    train = reels(folder, range(films), eyes.size, progress=progress)
    rendered = time.perf_counter()
    supervised = Supervised(eyes)
    log = fit(
        supervised,
        relevance_batch(train, words),
        relevance_loss,
        steps=steps[0],
        lr=2e-3,
        folder=folder / "eyes",
        progress=progress,
    )
    seen = []
    with torch.inference_mode():
        for film in train:
            parts = [eyes.watch(f, s) for f, s in zip(film.frames.split(100), film.seconds.split(100), strict=True)]
            seen.append(VisualSequence.cat(parts).map(lambda x: x.half()))
    made = lessons(eyes, train, seen, words, progress=progress)
    told = fit(
        lm,
        lesson_batch(eyes, seen, made, 32),
        lesson_loss(words),
        steps=steps[1],
        lr=1.5e-3,
        folder=folder / "lm",
        progress=progress,
    )
    Pico(eyes, lm, words).save(out)
    tail = lambda entries, key: round(float(np.mean([entry[key] for entry in entries[-100:]])), 4)  # noqa: E731
    return {
        "films": films,
        "lessons": len(made),
        "parameters": sum(p.numel() for net in (eyes, lm) for p in net.parameters()),
        "bytes": out.stat().st_size,
        "minutes": {
            "render and read": round((rendered - began) / 60, 1),
            "dual encoder": round(sum(e["seconds"] for e in log) / 60, 1),
            "language model": round(sum(e["seconds"] for e in told) / 60, 1),
            "whole run": round((time.perf_counter() - began) / 60, 1),
        },
        "dual encoder": {key: tail(log, key) for key in ("missed", "false", "colour", "shape", "number")},
        "language model": {key: tail(told, key) for key in ("steps right", "answers right")},
    }


def main() -> None:
    """Make pico and write the figures of the run."""
    import argparse

    from rich.progress import Progress as Bar

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/pico"), help="films and checkpoints")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "vlm" / "weights" / "pico.safetensors")
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--steps", type=int, nargs=2, default=STEPS)
    parser.add_argument("--results", type=Path, default=Path("results/pico.json"))
    asked = parser.parse_args()
    with Bar() as bar:
        tasks: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        figures = make(asked.folder, asked.out, films=asked.films, steps=tuple(asked.steps), progress=progress)
    asked.results.parent.mkdir(exist_ok=True)
    asked.results.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
