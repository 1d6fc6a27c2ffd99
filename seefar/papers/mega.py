"""Mega: one attention head, told where to look by moving averages of the sequence, behind gates (Ma et al. 2023).

Attention treats all places alike, so it learns slowly that near tokens belong together. Damped averages of each channel
know it from the start: queries and keys made from them see a neighbourhood, and one head is enough. Since the averages
carry the far past, attention may be cut into chunks, which makes the whole linear.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.pixel_digits import trained_on_digits
from seefar.evals.protocols import ablation, cost_sweep
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.ema import EMA
from seefar.mixers.gated import GatedMixer
from seefar.mixers.pattern import MLP, column
from seefar.mixers.scored import Score, ScoredAttention, TurningBias, laplace
from seefar.mixers.softmax import Attention
from seefar.ops.long_conv import long_conv
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=9,
    title="Mega: Moving Average Equipped Gated Attention",
    arxiv="2209.10655",
    code="facebookresearch/mega",
    published="Long Range Arena: 88.2 on average, 85.7 with chunks of 128 tokens, a Transformer 59.2",
    holds_when="real digits of 8 x 8 pixels, one pixel a token, 250 steps of 32 digits, two layers of 32 channels (31K "
    "weights, the Transformer 27K): Mega names at least 5 points more held-out digits than the Transformer; with "
    "chunks of 16 tokens it stays within 3 points of itself without chunks; without its averages it loses at least 5. "
    "Averages of 32768 tokens, 128 channels and 16 states by blocks and a scan take at most a fifth of the seconds of "
    "building the kernel and an FFT, as the authors do. ListOps and 1024 pixels are left out at this scale",
    control="the same gated attention without averages, which must not reach the Transformer by 5 points",
)
ROUTES = "blocks and a scan", "kernel and FFT", "FFT with the kernel at hand"


def build(
    dim: int = 128,
    depth: int = 6,
    *,
    states: int = 16,
    width: int = 64,
    score: Score = laplace,
    chunk: int | None = None,
    causal: bool = True,
    averages: bool = True,
) -> Stack:
    """A column of Mega's blocks, each followed by an MLP; a mixer itself, which streams if it is causal."""

    def layer() -> list[Mixer]:
        memory = EMA(dim, states=states, bidirectional=not causal) if averages else None
        attention = ScoredAttention(score=score, chunk=chunk, causal=causal, bias=TurningBias(width))
        mlp = Block(dim, MLP(dim, ratio=2), mlp_ratio=0, norm=nn.LayerNorm)
        return [GatedMixer(dim, memory=memory, attention=attention, width=width), mlp]

    return Stack([mixer for _ in range(depth) for mixer in layer()])


def claim(scale: Scale) -> Verdict:
    """Digits by pixels for four models of one size; then the seconds of the averages, two ways."""
    dim, width, steps = scale.pick((4, 4, 2), (32, 16, 250))
    small = partial(build, dim, 2, states=8, width=width, causal=False)
    columns: dict[str, Callable[[], Stack]] = {
        "Mega": small,
        "Mega in chunks": partial(small, chunk=16),
        "without averages": partial(small, averages=False),
        "Transformer": lambda: column("(A F)*2", dim, A=lambda: Attention(dim, 4, causal=False)),
    }
    train = partial(trained_on_digits, setting=scale, steps=steps, lr=5e-3)
    arms = {name: train(partial(_model, make, dim, name)) for name, make in columns.items()}
    share = ablation(arms, scale)
    mega, chunks, bare, transformer = (share[name]["score"].mean for name in columns)
    lengths = scale.pick([64, 128], [2048, 8192, 32768])
    seconds, _ = cost_sweep({way: _averages(way) for way in ROUTES}, lengths, scale, repeats=scale.pick(1, 3))
    ratio = {way: row[lengths[-1]].mean / seconds[ROUTES[0]][lengths[-1]].mean for way, row in seconds.items()}
    return Verdict(
        figures={
            "share of digits named": share.to_json(),
            "weights": {
                name: sum(w.numel() for w in _model(columns[name], dim, name).parameters()) for name in columns
            },
            "seconds of averages, by tokens": seconds.to_json(),
            "times as long as by blocks, most tokens": ratio,
        },
        checks={
            "5 points above the Transformer": mega >= transformer + 0.05,
            "chunks within 3 points": chunks >= mega - 0.03,
            "5 points lost without averages": bare <= mega - 0.05,
            "a fifth of the seconds of kernel and FFT": ratio[ROUTES[1]] >= 5,
        },
        controls={"without averages: not 5 points above the Transformer": bare < transformer + 0.05},
        note="64 tokens are no long range: this shows the mechanism, not the scores of the Long Range Arena",
    )


def _model(make: Callable[[], Stack], dim: int, name: str) -> SequenceModel:
    return SequenceModel(make(), dim, 10, channels=1, pool="mean", positions=64 if name == "Transformer" else None)


def _averages(way: str) -> Callable[[int], Callable[[], Tensor]]:
    def prepare(length: int) -> Callable[[], Tensor]:
        torch.manual_seed(length)
        mixer, x = EMA(128, states=16), torch.randn(1, length, 128)
        kernel = mixer.kernel(length).mT
        calls = {
            ROUTES[0]: lambda: mixer(x)[0],
            ROUTES[1]: lambda: long_conv(x, mixer.kernel(length).mT) + mixer.omega * x,
            ROUTES[2]: lambda: long_conv(x, kernel) + mixer.omega * x,
        }
        return torch.no_grad()(calls[way])

    return prepare
