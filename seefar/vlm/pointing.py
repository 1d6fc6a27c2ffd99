"""Reading and writing with the pointing language model of ``tiny.py``: evidence in, moments and words out.

B batch, N tokens, L words, K kept tokens, S steps of the answer, V vocabulary.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seefar.sequence import VisualSequence
from seefar.synthetic import shapes
from seefar.vlm.text import Words
from seefar.vlm.tiny import NAMES, Evidence, FrameText, Narrator

FAR = 60.0
"""Seconds to a neighbour that does not exist."""
COLOURS, SHAPES = list(shapes.COLOURS), list(shapes.SHAPES)
APART = 2.0
"""Seconds between two moments of one answer, at least: a bounce that shows on two frames is one bounce."""


def gather_evidence(eyes: FrameText, seq: VisualSequence, heard_LD: Tensor, worth_L: Tensor) -> Evidence:
    """What the language model is shown of one question's kept tokens (one row, time order), batch 1."""
    tokens = seq.tokens[0]
    logits_LK = eyes.relevance(tokens, heard_LD[None], worth_L[None])[0]
    score, word = logits_LK.max(0)
    second = seq.span[0, :, 0]
    times, frame = second.unique_consecutive(return_inverse=True)
    gaps = times.diff().clamp(max=FAR)
    edge = gaps.new_full((1,), FAR)
    before, after = torch.cat([edge, gaps])[frame], torch.cat([gaps, edge])[frame]
    time = torch.stack([before, after], -1).log1p().float()
    order = frame / max(1, len(times) - 1)
    asked = word / max(1, len(heard_LD) - 1)
    return Evidence(
        eyes.name(tokens)[None],
        heard_LD[word][None],
        seq.box.float(),
        time[None],
        score[None, :, None],
        order[None, :, None].to(tokens.dtype),
        asked[None, :, None].to(tokens.dtype),
        frame[None],
        seq.mask,
    )


def collate(rows: list[Evidence]) -> Evidence:
    """Rows of batch 1 as one batch, padded at the end."""
    longest = max(row.mask_BK.shape[1] for row in rows)

    def pad(values: Tensor) -> Tensor:
        out = values.new_zeros(1, longest, *values.shape[2:])
        out[:, : values.shape[1]] = values
        return out

    return Evidence(*(torch.cat([pad(row[i]) for row in rows]) for i in range(len(Evidence._fields))))


def read_packed(lm: Narrator, parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Hidden states of padded parts read one after the other without gaps; each is ((B, n, D), mask (B, n))."""
    x = torch.cat([values for values, _ in parts], 1)
    mask = torch.cat([real for _, real in parts], 1)
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    packed = x.gather(1, order[..., None].expand_as(x))
    hidden, _ = lm.stack(packed)
    back = torch.empty_like(hidden).scatter(1, order[..., None].expand_as(hidden), lm.norm(hidden))
    return list(back.split([values.shape[1] for values, _ in parts], 1))


@dataclass(frozen=True)
class Told:
    """What the language model answered: words, and (token, probability) for every pointer, in the order given."""

    words: list[int]
    points: list[tuple[int, float]]
    confidence: float


@torch.inference_mode()
def narrate(
    lm: Narrator,
    words_L: Tensor,
    heard_LD: Tensor,
    evidence: Evidence,
    specials: dict[str, int],
    *,
    steps: int = 14,
    second_K: Tensor | None = None,
) -> Told:
    """Answer greedily: the state after question and evidence is carried, each step reads one token.

    A step points if some frame, its tokens taken together, is more probable than any word; it then points at the
    likeliest token of the likeliest frame. Given the seconds of the tokens, it points at none less than ``APART`` from
    one it has pointed at.
    """
    V = lm.say.out_features
    question, seen = lm.ask(words_L[None], heard_LD[None]), lm.see(evidence)
    start = lm.word(torch.tensor([[specials["<answer>"]]]))
    hidden, state = lm.stack(torch.cat([question, seen, start], 1))
    hidden = lm.norm(hidden)
    marks = hidden[:, len(words_L) : len(words_L) + seen.shape[1]]
    now = hidden[:, -1:]
    words: list[int] = []
    points: list[tuple[int, float]] = []
    confidence = 1.0
    open_BK = evidence.mask_BK
    for _ in range(steps):
        chance = lm.scores(now, marks, open_BK)[0, 0].softmax(-1)
        frame_mass = _by_frame(chance[V:], evidence.frame_BK[0])
        word = int(chance[:V].argmax())
        if float(frame_mass.max()) > float(chance[word]):
            token = int(torch.where(frame_mass == frame_mass.max(), chance[V:], -1).argmax())
            points.append((token, float(frame_mass.max())))
            if second_K is not None:
                open_BK = open_BK & ((second_K - second_K[token]).abs() >= APART)
            confidence = min(confidence, float(frame_mass.max()))
            step = lm.word(torch.tensor([[specials["<point>"]]])) + seen[:, token : token + 1]
        else:
            confidence = min(confidence, float(chance[word]))
            if word == specials["<end>"]:
                break
            words.append(word)
            step = lm.word(torch.tensor([[word]]))
        now, state = lm.stack(step, state)
        now = lm.norm(now)
    return Told(words, points, confidence)


def as_asked(told: Told, question: str, names_KN: Tensor, words: Words) -> Told:
    """An answer that names one thing of several that the question names, "white ring" where only "white star" and "cyan
    ring" were asked about, put right: of those that share a name with it, the one likeliest where it pointed first."""
    asked = words.split(question)
    named = [pair for pair in itertools.pairwise(asked) if pair[0] in COLOURS and pair[1] in SHAPES]
    said = tuple(words.all[word] for word in told.words)
    near = [pair for pair in named if set(pair) & set(said)]
    if len(named) < 2 or len(said) != 2 or said[0] not in COLOURS or said[1] not in SHAPES or said in named or not near:
        return told
    if told.points:
        names = names_KN[told.points[0][0]]
        near.sort(
            key=lambda pair: -float(names[COLOURS.index(pair[0])] * names[NAMES["colour"] + SHAPES.index(pair[1])])
        )
    return replace(told, words=[words.index[word] for word in near[0]])


def _by_frame(chance_K: Tensor, frame_K: Tensor) -> Tensor:
    """For every token the probability of its whole frame."""
    total = chance_K.new_zeros(int(frame_K.max()) + 1).scatter_add_(0, frame_K, chance_K)
    return total[frame_K]
