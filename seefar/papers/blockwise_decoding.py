"""Blockwise decoding: a model that writes greedily guesses a few words ahead and checks its guesses in one call.

Small heads on the last hidden state guess the words after the next one. The next call reads all of them, so that it
tells for each whether the model itself would have written it, and gives new guesses at the same time. The longest right
beginning is kept: the text is that of greedy decoding, in fewer calls. Where words are grey levels, a guess that is
nearly right may stand, and blocks grow.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seefar.backbones.sequence import SequenceModel
from seefar.decoding.blockwise import CachedReader, ProposalHeads, within
from seefar.evals.blockwise import Way, grey_levels, written
from seefar.evals.protocols import Curves, sweep
from seefar.mixers.pattern import column
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.rope import Rope
from seefar.synthetic.sentences import CHARACTERS, texts

CARD = Card(
    number=106,
    title="Blockwise Parallel Decoding for Deep Autoregressive Models",
    arxiv="1811.03115",
    code="tensorflow/tensor2tensor",
    published="half the iterations of greedy decoding with no loss, up to 7 times fewer with a slight one; up to 4 "
    "times as fast by the clock",
    holds_when="blocks of 8, heads on a frozen model, one head trained a step. Text about rendered worlds by "
    "characters: every continuation is that of greedy decoding, at least 2 words a check, and at least 1.6 times as "
    "fast by the clock as cached greedy decoding on the same model. Lower halves of handwritten digits, 17 grey "
    "levels: guesses one level off may stand, at least 3.5 pixels a check, and the distance to the true pixels grows "
    "by 2 % at most",
    control="heads that were never trained: the same words, but fewer than 2 a check; whole blocks taken unchecked: "
    "not the words of greedy decoding",
)
EXACT, BORN, BLIND, NEAR = "exact", "exact, heads untrained", "all unchecked", "one level off"
SAME, WORDS, CALLS = "same as greedy", "words a check", "calls, greedy over it"
CLOCK, ERROR = "seconds, greedy over it", "error over that of greedy"


def build(model: Any, *, block: int = 8) -> tuple[CachedReader, ProposalHeads]:
    """For ``decoding.blockwise.write``: a language model of transformers as a reader, and heads to be trained."""
    reader = CachedReader(model)
    return reader, ProposalHeads(model.config.get_text_config().hidden_size, block).to(model.device, model.dtype)


def claim(scale: Scale) -> Verdict:
    """Text must stay the same in fewer calls; pixels may differ a little in still fewer."""
    text, pixels = _text(scale), _pixels(scale)
    return Verdict(
        figures={"text": text.to_json(), "pixels": pixels.to_json()},
        checks={
            "text: the words of greedy decoding": min(text["text"][EXACT, SAME].values) == 1,
            "text: at least 2 words a check": text["text"][EXACT, WORDS].mean >= 2,
            "text: at least 1.6 times as fast": text["text"][EXACT, CLOCK].mean >= 1.6,
            "pixels: at least 3.5 a check": pixels["pixels"][NEAR, WORDS].mean >= 3.5,
            "pixels: error grows by 2 % at most": pixels["pixels"][NEAR, ERROR].mean <= 1.02,
        },
        controls={
            "untrained heads: the same words": min(text["text"][BORN, SAME].values) == 1,
            "untrained heads: fewer than 2 a check": text["text"][BORN, WORDS].mean < 2,
            "unchecked: not the words of greedy decoding": text["text"][BLIND, SAME].mean < 1,
        },
        note="models of a few hundred thousand weights on one core, where a call of 8 words costs hardly more than one "
        "of a single word",
    )


def _model(words: int, dim: int) -> SequenceModel:
    return SequenceModel(
        column("(A F)*2", dim, A=lambda: Attention(dim, 2, rope=Rope(dim // 2))), dim, words, words=words, positions=128
    )


def _text(scale: Scale) -> Curves:
    rows, dim, steps, tests = scale.pick((2, 8, 2, 2), (16, 64, 350, 8))

    def batch(seed: int, step: int) -> Tensor:
        return texts(rows, 128, seed=10_000 * seed + step)

    block = scale.pick(3, 8)
    ways = {EXACT: Way(), BORN: Way(trained=False), BLIND: Way(least=block)}
    arm = written(
        lambda: _model(len(CHARACTERS), dim),
        batch,
        lambda seed: texts(tests, 128, split="held-out", seed=seed)[:, : scale.pick(40, 128)],
        ways,
        scale,
        block=block,
        given=32,
        steps=steps,
        head_steps=steps,
    )
    return sweep("text", {"text": arm}, [(way, what) for way in ways for what in (SAME, WORDS, CALLS, CLOCK)], scale)


def _pixels(scale: Scale) -> Curves:
    rows, dim, steps, tests = scale.pick((2, 8, 2, 2), (32, 64, 350, 24))
    arm = written(
        lambda: _model(17, dim),
        lambda seed, step: grey_levels("train", rows, seed=10_000 * seed + step),
        lambda seed: grey_levels("held-out", tests, seed=seed),
        {EXACT: Way(), NEAR: Way(within(1))},
        scale,
        block=scale.pick(3, 8),
        given=32,
        steps=steps,
        head_steps=steps,
    )
    points = [(way, what) for way in (EXACT, NEAR) for what in (SAME, WORDS, CALLS, CLOCK, ERROR)]
    return sweep("pixels", {"pixels": arm}, points, scale)
