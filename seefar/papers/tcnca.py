"""TCNCA: Mega's gated attention with a stack of dilated convolutions for its memory (Terzic et al. 2023).

Mega's averages are trained as a convolution with a kernel as long as the sequence, by way of a Fourier transform. A few
convolutions with taps ever further apart reach as far, at a price that grows with the tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.language import loss_of, trained
from seefar.evals.protocols import cost_sweep, sweep
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.dilated import DilatedConv
from seefar.mixers.ema import EMA
from seefar.mixers.gated import GatedMixer
from seefar.mixers.pattern import MLP
from seefar.mixers.scored import ScoredAttention, TurningBias
from seefar.ops.long_conv import long_conv
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.sentences import CHARACTERS, texts

CARD = Card(
    number=75,
    title="TCNCA: Temporal Convolution Network with Chunked Attention for Scalable Sequence Processing",
    arxiv="2312.05605",
    code=None,
    published="EnWik8: a lower loss than Mega, 1.37 and 1.24 times as fast forward and backward; the convolutions "
    "alone up to 7.07 and 2.86 times as fast as the recurrence by FFT, for up to 131K tokens",
    holds_when="text about rendered worlds, 120 steps of 8 texts of 256 characters, two layers of 32 channels, "
    "attention within chunks of 16 (29K to 33K weights): nats a character of held-out text are at most those of Mega "
    "plus 0.01. Convolutions that cover the sequence (17 taps, four times as far apart with each layer, 128 channels) "
    "take at most a fifth of the seconds of building Mega's kernel (16 states) and an FFT at 2048, 8192 and 32768 "
    "tokens, and grow with the tokens to the power 1.25 at most; our averages by a scan are timed without a bar. "
    "Associative recall and EnWik8 are left out at this scale",
    control="the same gated attention without any memory, which must not come within 0.01 nats of Mega",
)
ROUTES = "dilated convolutions", "averages: kernel and FFT", "averages: blocks and a scan"


def build(
    dim: int = 128, depth: int = 6, *, kernel: int = 17, factor: int = 4, cover: int = 1024, chunk: int = 128
) -> Stack:
    """A column of gated attention over convolutions, each followed by an MLP; a ValueError if cover is below chunk."""
    if cover < chunk:
        raise ValueError(f"tcnca: the convolutions carry from chunk to chunk, but {cover=} is less than {chunk=}")
    memory = partial(DilatedConv, dim, kernel=kernel, factor=factor, cover=cover)
    return _column(memory, dim, depth, chunk, dim // 2)


def claim(scale: Scale) -> Verdict:
    """The loss of three memories under one attention; then the seconds of the memories alone."""
    dim, width, steps, length, chunk = scale.pick((4, 4, 2, 24, 8), (32, 16, 120, 256, 16))
    memories: dict[str, Callable[[], Mixer] | None] = {
        "convolutions": lambda: DilatedConv(dim, cover=length),
        "averages": lambda: EMA(dim, states=16),
        "none": None,
    }

    def model(memory: Callable[[], Mixer] | None) -> SequenceModel:
        return SequenceModel(_column(memory, dim, 2, chunk, width), dim, len(CHARACTERS), words=len(CHARACTERS))

    def batch(seed: int, step: int) -> Tensor:
        return texts(8, length, seed=10_000 * seed + step)

    def held(net: nn.Module, seed: int, _: object) -> float:
        return loss_of(net, texts(scale.pick(2, 32), length, split="held-out", seed=seed))

    train = partial(trained, batch=batch, measure=held, setting=scale, steps=steps, lr=1e-2)
    arms = {name: train(partial(model, memory)) for name, memory in memories.items()}
    loss = sweep("characters", arms, ["nats"], scale)
    ours, mega, bare = (loss[name]["nats"].mean for name in memories)
    lengths = scale.pick([64, 128], [2048, 8192, 32768])
    seconds, _ = cost_sweep({way: _memory(way) for way in ROUTES}, lengths, scale, repeats=scale.pick(1, 3))
    times = {way: {str(n): row[n].mean / seconds[ROUTES[0]][n].mean for n in lengths} for way, row in seconds.items()}
    return Verdict(
        figures={
            "nats a character": loss.to_json(),
            "weights": {name: sum(w.numel() for w in model(make).parameters()) for name, make in memories.items()},
            "seconds of the memory, by tokens": seconds.to_json(),
            "times as long as convolutions, by tokens": times,
            "power of the tokens": {way: seconds.slope(way) for way in ROUTES},
        },
        checks={
            "at most Mega's loss plus 0.01": ours <= mega + 0.01,
            "a fifth of the seconds of kernel and FFT": min(times[ROUTES[1]].values()) >= 5,
            "seconds grow to the power 1.25 at most": seconds.slope(ROUTES[0]) <= 1.25,
        },
        controls={"without a memory: not within 0.01 of Mega": bare > mega + 0.01},
        note="the FFT is charged with its kernel, which is built anew at each training step; at rest it could be kept",
    )


def _column(memory: Callable[[], Mixer] | None, dim: int, depth: int, chunk: int, width: int) -> Stack:
    def layer() -> list[Mixer]:
        near = ScoredAttention(chunk=chunk, bias=TurningBias(width))
        gated = GatedMixer(dim, memory=memory() if memory else None, attention=near, width=width)
        return [gated, Block(dim, MLP(dim, ratio=2), mlp_ratio=0, norm=nn.LayerNorm)]

    return Stack([mixer for _ in range(depth) for mixer in layer()])


def _memory(way: str) -> Callable[[int], Callable[[], Tensor]]:
    def prepare(length: int) -> Callable[[], Tensor]:
        averages, convolutions, x = EMA(128, states=16), DilatedConv(128, cover=length), torch.randn(1, length, 128)
        calls = {
            ROUTES[0]: lambda: convolutions(x)[0],
            ROUTES[1]: lambda: long_conv(x, averages.kernel(length).mT) + averages.omega * x,
            ROUTES[2]: lambda: averages(x)[0],
        }
        return torch.no_grad()(calls[way])

    return prepare
