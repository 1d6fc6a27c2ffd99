"""Teaching the language model of ``pico`` to answer from what the dual encoder chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from seefar.memory.shortlist import Shortlist
from seefar.sequence import VisualSequence
from seefar.synthetic.shapes import SHAPES
from seefar.synthetic.templates import TEMPLATES
from seefar.training.fit import Progress
from seefar.training.worlds import COLOUR_LIST, Look, Reel
from seefar.vlm.pico import LEAST, MARGIN, PER_FRAME, THRESHOLD
from seefar.vlm.pointing import collate, gather_evidence, read_packed
from seefar.vlm.text import Words
from seefar.vlm.tiny import NAMES, Evidence, FrameText, Narrator

HARD = {"before/after": 3, "bounces": 3, "turned": 5, "order": 2, "shape": 3, "colour": 2, "number": 3, "vanish": 3}
"""How often the topics that are learnt last come up, against once for the others."""
SLIPS = {"colour": 0.04, "shape": 0.08, "number": 0.12, "squashed": 0.01}
"""Share of the frames in which a name is taken for another while the language model learns. The eyes know their
training films by heart; of a film they never saw they misname about so many, and an answer has to rest on several."""


@dataclass(frozen=True)
class Lesson:
    """One question of a film, ready for the language model: the tokens it is shown, and the answer as targets.

    Args:
        topic: of the question, or "drill". film: its number. which: positions of the kept tokens in it.
        words: of the question. heard, worth: the question as the dual encoder reads it.
        steps: a word's number, or (K,) bool of the tokens that may be pointed at.
    """

    topic: str
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
        tokens_TPD = tokens.reshape(-1, P, tokens.shape[-1])
        for question in film.questions:
            coded = words.encode(question.question)
            heard, worth = eyes.hear(torch.tensor([coded]))
            scores_TP = eyes.relevance(tokens, heard, worth).amax(1).reshape(-1, P)
            kind = rng.random()
            if kind < 0.8:
                which = _chosen(seq, eyes, scores_TP)
            else:  # whole frames, or the best patches of more frames
                count, patches = (int(rng.integers(6, 15)), P) if kind < 0.9 else (int(rng.integers(20, 90)), PER_FRAME)
                at = torch.from_numpy(np.linspace(rng.uniform(0, 1), len(film.frames) - 1, count).astype(int))
                best = eyes.pick(tokens_TPD[at], scores_TP[at], patches).sort(1).values
                which = (at[:, None] * P + best).flatten()
            names = eyes.name(tokens[which])
            looks = question.shows[1:] if question.topic == "turned" else question.shows
            steps = [
                words.index[str(value)] if what == "word" else on_subject(_within(seconds[which], *value), looks, names)
                for what, value in question.steps
            ]
            if all(isinstance(step, int) or step.any() for step in steps):
                made.append(Lesson(question.topic, f, which, coded, heard[0], worth[0], [*steps, words.index["<end>"]]))
    return made


@torch.inference_mode()
def drill_lessons(
    eyes: FrameText, drills: list[Reel], seen: list[VisualSequence], words: Words, *, first: int, each: int = 200
) -> list[Lesson]:
    """Short lessons on handwriting, words and photographs: six frames of a drill, a question about one of them.

    Args:
        eyes: chooses the tokens.
        drills: the films.
        seen: their tokens.
        words: the vocabulary.
        first: number of the first drill among all films.
        each: lessons drawn from each drill; those whose subject shows on several of the frames are left out.
    """
    made = []
    rng = np.random.default_rng(6)
    P = eyes.grid[0] * eyes.grid[1]
    for f, (film, seq) in enumerate(zip(drills, seen, strict=True)):
        tokens = seq.tokens[0].reshape(-1, P, seq.tokens.shape[-1])
        for _ in range(each):
            at = np.sort(rng.permutation(len(film.scenes))[:6])
            spot = int(rng.integers(6))
            target = film.scenes[at[spot]]
            steps: list[str] = []
            if target.cards:
                kind, name = target.cards[0]
                look: Look = (kind, name)
                text = str(rng.choice(TEMPLATES[kind][0])).format(w=name, p=name)
            else:
                numbered = [thing for thing in target.things if thing.number is not None]
                if not numbered:
                    continue
                thing = numbered[0]
                look = (thing.colour, thing.shape)
                text, steps = str(rng.choice(TEMPLATES["number"][0])), [str(thing.number)]
                text = text.format(o=f"{thing.colour} {thing.shape}")
            if sum(film.scenes[t].shows(look) for t in at) != 1 or (
                len(target.things) > 1 and target.things[0] == target.things[1]
            ):
                continue
            coded = words.encode(text)
            heard, worth = eyes.hear(torch.tensor([coded]))
            frames = torch.from_numpy(at)
            shown = tokens[frames].flatten(0, 1).float()
            scores_TP = eyes.relevance(shown, heard, worth).amax(1).reshape(6, P)
            best = eyes.pick(shown.reshape(6, P, -1), scores_TP, PER_FRAME).sort(1).values
            which = (frames[:, None] * P + best).flatten()
            point = (torch.arange(6) == spot).repeat_interleave(PER_FRAME)
            done: list[Tensor | int] = [point, *(words.index[step] for step in steps), words.index["<end>"]]
            made.append(Lesson("drill", first + f, which, coded, heard[0], worth[0], done))
    return made


def _chosen(seq: VisualSequence, eyes: FrameText, scores_TP: Tensor) -> Tensor:
    """Positions of the tokens that ``pico`` would keep."""
    capacity, (_, columns) = 2000, eyes.grid

    def pick(seq: VisualSequence, relevance_TP: Tensor, keep: int) -> Tensor:
        return eyes.pick(seq.tokens[0].float().reshape(*relevance_TP.shape, -1), relevance_TP, keep)

    shortlist = Shortlist(
        lambda _: scores_TP.reshape(1, -1),
        capacity,
        per_frame=PER_FRAME,
        margin=MARGIN,
        threshold=THRESHOLD,
        least=LEAST,
        pick=pick,
    )
    shortlist.write(seq)
    kept = shortlist.read(capacity)
    row, column = (kept.box[0, :, 0] * eyes.grid[0]).round().long(), (kept.box[0, :, 1] * columns).round().long()
    return kept.span[0, :, 0].long() * scores_TP.shape[1] + row * columns + column


def _within(second: Tensor, first: float, last: float) -> Tensor:
    """Tokens inside [first, last), or where there are none the nearest ones within four seconds."""
    hit = (second >= first) & (second < last)
    if hit.any():
        return hit
    off = torch.maximum(first - second, second - last)
    return (off == off.min()) & (off < 4)


def emphasised(made: list[Lesson], times: Mapping[str, int] = HARD) -> list[Lesson]:
    """The lessons, those of the named topics so many times."""
    return [lesson for lesson in made for _ in range(times.get(lesson.topic, 1))]


def misnamed(evidence: Evidence, rng: np.random.Generator, slips: Mapping[str, float] = SLIPS) -> Evidence:
    """Evidence of one row in which some frames' shapes go by a wrong name, the same one on all tokens of the frame."""
    frame = evidence.frame_BK[0]
    parts = []
    for group, given in zip(NAMES, evidence.names_BKN[0].split(list(NAMES.values()), -1), strict=True):
        names = NAMES[group] - (group != "squashed")
        slip = torch.from_numpy(rng.random(int(frame.max()) + 1) < slips[group])[frame]
        if group != "squashed":  # what holds nothing is not misnamed
            slip &= evidence.names_BKN[0, :, NAMES["colour"] - 1] < 0.5
        wrong = torch.from_numpy(rng.integers(names, size=int(frame.max()) + 1))[frame]
        sure = nn.functional.one_hot(wrong, NAMES[group]).to(given.dtype)
        parts.append(torch.where(slip[:, None], 0.2 * given + 0.8 * sure, given))
    return evidence._replace(names_BKN=torch.cat(parts, -1)[None])


def recast(
    lesson: Lesson, evidence: Evidence, eyes: FrameText, words: Words, rng: np.random.Generator
) -> tuple[Lesson, Evidence]:
    """The same lesson about things of other colours, shapes and numbers.

    A hundred films hold about as many changes of colour, which are soon known by heart. Of colour c and shape s become
    (a c + k) mod 8 and (a s - 3 k) mod 8, a odd: 32 ways, and each keeps the held-out combinations among themselves, so
    that no lesson is about one.
    """
    a, k = int(rng.choice([1, 3, 5, 7])), int(rng.integers(8))
    colours, shapes = (a * np.arange(8) + k) % 8, (a * np.arange(8) - 3 * k) % 8
    numbers = rng.permutation(10)
    swap = {words.index[c]: words.index[COLOUR_LIST[i]] for c, i in zip(COLOUR_LIST, colours, strict=True)}
    swap |= {words.index[s]: words.index[SHAPES[i]] for s, i in zip(SHAPES, shapes, strict=True)}
    asked = [swap.get(word, word) for word in lesson.words]
    if lesson.topic in ("number", "drill"):  # elsewhere a digit counts
        swap |= {words.index[str(n)]: words.index[str(i)] for n, i in enumerate(numbers)}
    steps = [swap.get(step, step) if isinstance(step, int) else step for step in lesson.steps]
    parts = list(evidence.names_BKN.split(list(NAMES.values()), -1))
    for group, others in enumerate((colours, shapes, numbers)):
        back = [*np.argsort(others), len(others)]  # the last is "none"
        parts[group] = parts[group][..., torch.tensor(back)]
    heard, worth = eyes.hear(torch.tensor([asked]))
    word = (evidence.asked_BK1[0, :, 0] * max(1, len(asked) - 1)).round().long()
    changed = evidence._replace(names_BKN=torch.cat(parts, -1), words_BKD=heard[0][word][None])
    return replace(lesson, words=asked, heard=heard[0], worth=worth[0], steps=steps), changed


def lesson_batch(
    eyes: FrameText, seen: list[VisualSequence], made: list[Lesson], tokens: int, words: Words
) -> Callable[[int], list[tuple[Lesson, Evidence]]]:
    """Lessons drawn at random, of like length within a batch, as many as have about so many ``tokens``; 8 to 64. Each
    comes misnamed here and there, and recast."""
    by_length = sorted(range(len(made)), key=lambda i: len(made[i].which))

    @torch.inference_mode()
    def make(step: int) -> list[tuple[Lesson, Evidence]]:
        rng = np.random.default_rng([step, 13])
        spot, reach = int(rng.integers(len(made))), len(made) // 16
        size = int(np.clip(tokens // len(made[by_length[spot]].which), 8, 64))
        near = np.clip(spot + rng.integers(-reach, reach + 1, size), 0, len(made) - 1)
        rows = []
        for lesson in (made[by_length[i]] for i in near):
            shown = seen[lesson.film].take(lesson.which[None]).map(Tensor.float)
            evidence = misnamed(gather_evidence(eyes, shown, lesson.heard, lesson.worth), rng)
            rows.append(recast(lesson, evidence, eyes, words, rng))
        return rows

    return make


def on_subject(step: Tensor, looks: Sequence[Look], names_KN: Tensor) -> Tensor:
    """Of the (K,) tokens that may be pointed at those that bear one of the looks, or all where none does.

    Two crosses on screen, one of which has just turned red: what is pointed at has to be that one.
    """
    if any(colour in ("word", "photograph") for colour, _ in looks):
        return step
    colour_K, shape_K = (
        part.argmax(-1) for part in names_KN[:, : NAMES["colour"] + NAMES["shape"]].split(NAMES["colour"], -1)
    )
    bears = torch.zeros_like(step)
    for colour, shape in looks:
        has_colour = colour_K == COLOUR_LIST.index(colour) if colour else colour_K < len(COLOUR_LIST)
        bears |= has_colour & (shape_K == SHAPES.index(shape) if shape else shape_K < len(SHAPES))
    return step & bears if (step & bears).any() else step


def on_shapes(step: Tensor, evidence: Evidence) -> Tensor:
    """Of the (K,) tokens that may be pointed at those that show a shape, or all where none does.

    What was pointed at is read back in. Scenery beside a star that has turned green is as good a moment, but says
    nothing about its colour.
    """
    none = NAMES["colour"] + NAMES["shape"] - 1
    shown = step & (evidence.names_BKN[0, :, none] < 0.5)
    return shown if shown.any() else step


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
                    step = on_shapes(step, proof)
                    target[b, s, V : V + len(step)] = step
                    score = torch.where(step, proof.score_BK1[0, :, 0], -torch.inf)
                    follow, at = words.index["<point>"], int(score.argmax())
                if s + 1 < S:
                    given[b, s + 1], pointed[b, s + 1] = follow, at
        seen = model.see(evidence)
        back = seen.gather(1, pointed.clamp(min=0)[..., None].expand(-1, -1, seen.shape[-1]))
        answer = model.word(given) + back * (pointed >= 0)[..., None]
        _, marks, hidden = read_packed(
            model, [(model.ask(code, heard), code > 0), (seen, evidence.mask_BK), (answer, target.any(-1))]
        )
        chance = model.scores(hidden, marks, evidence.mask_BK).log_softmax(-1)
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
