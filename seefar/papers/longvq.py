"""LongVQ: a gated block whose attention meets a fixed number of codes instead of a growing past (Liu et al. 2024).

Queries and keys come from moving averages of the sequence, as in Mega. There keys are then replaced by the nearest of S
codes: tokens of one code weigh the same for every query, so their values are summed once, and attention to everything
takes S products a token. Mega's way to be linear, chunks that don't see each other, loses what is far; codes keep it,
coarsely. Near tokens are met one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from seefar.backbones.sequence import SequenceModel
from seefar.embed.quantize import VectorQuantizer
from seefar.evals.listops import WORDS, trained_on_listops
from seefar.evals.pixel_digits import trained_on_digits
from seefar.evals.protocols import Arm, Curves, ablation
from seefar.evals.recall import cost_after
from seefar.evals.streamed import stretch_after
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.ema import EMA
from seefar.mixers.gated import GatedAttention, GatedMixer
from seefar.mixers.pattern import MLP
from seefar.mixers.scored import ScoredAttention, TurningBias, laplace, softmax
from seefar.mixers.vq_attention import VQAttention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=74,
    title="LongVQ: Long Sequence Modeling with Vector Quantization on Structured Memory",
    arxiv="2404.11163",
    code=None,
    published="Long Range Arena: a better average than Mega with chunks and other hybrids of linear cost",
    holds_when="ListOps of 11 to 39 words and handwritten digits of 8 x 8 pixels, one pixel a token, two layers of 32 "
    "channels, 200 steps of 32: the mean of both accuracies, with 32 codes and blocks of 8, is at least 1 point above "
    "that of Mega with chunks of 8 and as many weights, and 5 above that of itself without averages. One layer "
    "of 64 channels (256 codes, blocks of 64) mixes the next 1024 tokens in as many seconds of the processor after "
    "1024, 4096 and 32768 others, within 15 %, and holds as many bytes",
    control="without averages it must not be 1 point above Mega in chunks; whole attention must take over 15 % longer "
    "after 32768 tokens than after 1024",
)
Columns = dict[str, Callable[[], Stack]]


def build(
    dim: int = 128,
    depth: int = 6,
    *,
    codes: int = 512,
    block: int = 512,
    states: int = 16,
    width: int = 64,
    ratio: float = 2,
    causal: bool = True,
    averages: bool = True,
    attention: Callable[[], GatedAttention] | None = None,
) -> Stack:
    """A column of LongVQ's blocks, each followed by an MLP; or of the same blocks with another attention."""

    def quantised() -> GatedAttention:
        return VQAttention(VectorQuantizer(codes, width), block=block, causal=causal, bias=TurningBias(width))

    def layer() -> list[Mixer]:
        memory = EMA(dim, states=states, bidirectional=not causal) if averages else None
        gated = GatedMixer(dim, memory=memory, attention=(attention or quantised)(), width=width)
        return [gated, Block(dim, MLP(dim, ratio=ratio), mlp_ratio=0)]

    return Stack([mixer for _ in range(depth) for mixer in layer()])


def claim(scale: Scale) -> Verdict:
    """Two tasks for three models; then costs. LongVQ is beside Mega: averages carry all that such short rows need."""
    dim, steps, block = scale.pick((4, 2, 2), (32, 200, 8))
    small = partial(build, dim, 2, codes=scale.pick(3, 32), block=block, states=8, width=16, causal=False)
    chunks = partial(ScoredAttention, score=laplace, chunk=block, causal=False)
    mega = partial(small, attention=lambda: chunks(bias=TurningBias(16)))
    columns: Columns = {"LongVQ": small, "Mega in chunks": mega, "without averages": partial(small, averages=False)}
    tasks = {"ListOps": partial(trained_on_listops, lr=1e-2), "digits": partial(trained_on_digits, lr=5e-3)}
    share = {task: _tried(partial(train, steps=steps), columns, dim, task, scale) for task, train in tasks.items()}
    ours, chunked, bare = (sum(share[task][name]["score"].mean for task in share) / len(share) for name in columns)

    wide, at_once = scale.pick((4, 8), (64, 1024))
    one = partial(build, wide, 1, codes=scale.pick(3, 256), block=scale.pick(2, 64), width=16)
    whole = partial(one, attention=lambda: ScoredAttention(score=softmax))
    streams = {name: stretch_after(make(), wide, at_once=at_once) for name, make in (("LongVQ", one), ("whole", whole))}
    seconds, held = cost_after(streams, [at_once * n for n in (1, 4, 32)], scale, repeats=scale.pick(1, 8))
    longer = {name: [row[n].mean / row[at_once].mean for n in row] for name, row in seconds.items()}
    return Verdict(
        figures={
            "share right": {task: curves.to_json() for task, curves in share.items()},
            "mean of both tasks": dict(zip(columns, (ours, chunked, bare), strict=True)),
            "weights": [sum(w.numel() for w in make().parameters()) for make in columns.values()],
            "seconds of the next tokens, and bytes of the state, by tokens before": [seconds.to_json(), held],
        },
        checks={
            "1 point above Mega in chunks": ours >= chunked + 0.01,
            "5 points lost without averages": bare <= ours - 0.05,
            "seconds within 15 % at any length": all(abs(ratio - 1) <= 0.15 for ratio in longer["LongVQ"]),
            "a state of one size": len(set(held["LongVQ"].values())) == 1,
        },
        controls={
            "without averages: not 1 point above Mega": bare < chunked + 0.01,
            "whole attention: over 15 % longer": longer["whole"][-1] > 1.15,
        },
        note="40 words and 64 pixels are no long range; text, retrieval, Pathfinder and language are not run",
    )


def _tried(train: Callable[..., Arm], columns: Columns, dim: int, task: str, scale: Scale) -> Curves:
    words, channels = (None, 1) if task == "digits" else (len(WORDS.words), None)
    model = partial(SequenceModel, dim=dim, outputs=10, words=words, channels=channels, pool="mean")
    arms = {name: train(partial(_made, model, make), scale) for name, make in columns.items()}
    return ablation(arms, scale, name=task)


def _made(model: Callable[[Stack], SequenceModel], make: Callable[[], Stack]) -> SequenceModel:
    return model(make())
