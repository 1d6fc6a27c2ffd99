"""LWM: a language model that grows to a million tokens of text and video, stage by stage (Liu et al. 2024).

Attention over a sequence that ranks share in a ring makes long texts fit; what makes them learnt is the way there.
Texts grow in stages, each from the weights of the last, with slower rotary positions. Examples of any length share
a row without seeing each other, and each counts the same however long its answer is.
"""

from __future__ import annotations

from functools import partial

from seefar.backbones.sequence import SequenceModel
from seefar.evals.long_training import packed, staged
from seefar.evals.protocols import ablation, length_sweep
from seefar.mixers.block import Block, Stack
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.rope import Rope
from seefar.synthetic.remote import VOCABULARY
from seefar.synthetic.sentences import WORDS_OF_TEXT
from seefar.training.context_schedule import ContextSchedule

CARD = Card(
    number=70,
    title="World Model on Million-Length Video And Language With Blockwise RingAttention",
    arxiv="2402.08268",
    code="LargeWorldModel/LWM",
    published="after stages of 32K to 1M tokens with bases of 1M to 50M: nearly every single needle found at 1M "
    "tokens, fewer where several are asked for; packing without weights by example costs accuracy on short answers",
    holds_when="a digit is called the passkey once in a text full of digits, and asked for at its end (two layers of "
    "width 32, words). After stages of 32, 64, 128, 256 and 512 words with bases that rise from 1e4 to 1e6, 2048 words "
    "a step, at least 0.95 are found in texts of 512; of rows half filled by one example of 127 answers and half by "
    "four of one answer, training with weights by example gets at least 5 points more of the short answers right than "
    "by token",
    control="the same model after as many steps and words in texts of 32 alone, with the first base, must stay at 0.3 "
    "or below in texts of 512",
)
STAGES = (32, 1e4, 100), (64, 1e4, 100), (128, 1e5, 75), (256, 1e5, 75), (512, 1e6, 100)


def build(
    dim: int = 4096, layers: int = 32, *, words: int = 32_000, heads: int = 32, base: float = 1e6, ratio: float = 4
) -> SequenceModel:
    """A causal language model with rotary positions, whose column knows segments, for packed rows.

    Differs: MLPs are not gated.

    Args:
        dim: D.
        layers: of attention and MLP.
        words: of the vocabulary.
        heads: of attention.
        base: of the rotary positions at first; a ``ContextSchedule`` raises it.
        ratio: width of an MLP over D.
    """
    rope = Rope(dim // heads, base)
    blocks = [Block(dim, Attention(dim, heads, rope=rope), mlp_ratio=ratio) for _ in range(layers)]
    return SequenceModel(Stack(blocks), dim, words, words=words)


def claim(scale: Scale) -> Verdict:
    """Needles by length after stages and after short texts alone; short answers by what an example weighs."""
    dim, tokens = scale.pick((8, 64), (32, 2048), (128, 65_536))
    small = partial(build, dim, 2, heads=2, ratio=2)
    stages = ContextSchedule(
        scale.pick(
            ((16, 1e4, 1), (32, 1e5, 1)),
            STAGES,
            ((256, 1e4, 600), (1024, 1e5, 300), (4096, 1e6, 300), (16_384, 1e7, 300), (65_536, 5e7, 300)),
        )
    )
    first, last = stages.stages[0], stages.stages[-1]
    alone = ContextSchedule([(first.length, first.base, stages.steps)])
    begun = partial(small, words=len(WORDS_OF_TEXT), base=first.base)
    learn = partial(staged, begun, setting=scale, tokens=tokens, tests=scale.pick(2, 200))
    lengths = sorted({stage.length for stage in stages.stages})
    arms = {"stages": learn(stages), "short texts alone": learn(alone)}
    found = length_sweep(arms, lengths, scale, name="needles")

    short, long, rows = scale.pick((8, 16, 1), (32, 128, 8), (64, 1024, 32))
    train = partial(packed, partial(small, words=VOCABULARY), setting=scale, short=short, long=long, rows=rows)
    weigh = partial(train, steps=scale.pick(1, 200, 500), tests=scale.pick(2, 200))
    by = {"by example": weigh(weights="example"), "by token": weigh(weights="token")}
    right = ablation(by, scale, name="short answers")
    gain = right["by example"]["score"].mean - right["by token"]["score"].mean
    return Verdict(
        figures={
            "share of needles found, by words of the text": found.to_json(),
            "share of short answers right, by weights": right.to_json(),
            "points that weights by example gain": round(100 * gain, 2),
        },
        checks={
            "0.95 found at the last stage's length": found["stages"][last.length].mean >= 0.95,
            "weights by example: 5 points more short answers": gain >= 0.05,
        },
        controls={"short texts alone: at most 0.3 at that length": found["short texts alone"][last.length].mean <= 0.3},
        note="one needle among its like, on one device, without video: several needles (seefar.evals.formats."
        "multi_needle), the ring (burst-attention) and the layout of frames (embed.frame_codes) are tested apart",
    )
