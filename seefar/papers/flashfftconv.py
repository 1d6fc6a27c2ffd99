"""FlashFFTConv: long convolutions by Fourier transforms that are products of small matrices (Fu et al. 2023).

What accelerators do fastest is to multiply matrices, and an FFT does not. Cut the length into factors of 16 or 32, and
a transform becomes a chain of products with their small Fourier matrices: more operations, but of the fast kind. Once
it is a chain of blocks, blocks can be left out: those of padding, of taps that a filter does without, of frequencies
that it does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from seefar.backbones.sequence import SequenceModel
from seefar.evals.counted import multiply_adds, timed
from seefar.evals.language import trained
from seefar.evals.partial_filters import convolving, measured_with, worst_error
from seefar.evals.protocols import Curves, sweep
from seefar.evals.recall import cost_after
from seefar.mixers.hyena import Hyena, ImplicitConv
from seefar.mixers.partial_conv import PartialConv
from seefar.mixers.pattern import MLP, column
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.sentences import WORDS_OF_TEXT, texts

CARD = Card(
    number=115,
    title="FlashFFTConv: Efficient Convolutions for Long Sequences with Tensor Cores",
    arxiv="2311.05908",
    code="HazyResearch/flash-fft-conv",
    published="on an H100: convolutions up to 7.93 times as fast as PyTorch's; Path-512 96.1 %; a quarter of the taps, "
    "or of the frequencies of a trained model, without loss of quality",
    holds_when="products equal FFTs in float64, outputs and gradients, to 1e-10 of their norm, in bfloat16 to 1e-2, "
    "for transforms of 256 to 32768 numbers; the multiply-adds that PyTorch really runs fall to exactly a half and a "
    "quarter with the blocks of frequencies kept. A Hyena of two layers and width 32, trained for 250 steps of 4 texts "
    "of 1024 words about rendered worlds: with 256 taps its nats a word of held-out text are at most 1 % more than "
    "with 1024; the trained model run by products has the same nats to 1e-4, and with three quarters of its "
    "frequencies left out at most 1 % more. Speed and memory on an H200 are left out at this scale",
    control="8 taps, and a 32nd of the frequencies, must lose more than 1 %; on a CPU, where products are no cheaper "
    "than sums, the accelerator's bar of twice the speed of PyTorch's FFT must be missed",
)
WAYS = ALL, PRODUCTS, QUARTER, FEW = "as trained", "by products", "1/4 of the frequencies", "1/32 of the frequencies"


def build(
    dim: int = 32,
    *,
    words: int = len(WORDS_OF_TEXT),
    length: int = 1024,
    keep_time: int | None = None,
    factors: Sequence[int] | None = None,
    backend: str | None = None,
) -> SequenceModel:
    """A language model of two Hyena layers and MLPs; filters laid out for ``length``, options of ``PartialConv``."""

    def hyena() -> Hyena:
        conv = PartialConv(ImplicitConv(dim, length=length), keep_time=keep_time, factors=factors, backend=backend)
        return Hyena(dim, conv=conv)

    return SequenceModel(column("(Y F)*2", dim, Y=hyena, F=lambda: MLP(dim, ratio=2)), dim, words, words=words)


def claim(scale: Scale) -> Verdict:
    """Errors and counted products, the loss of models with less of their filters, seconds on a CPU."""
    sizes = scale.pick([(4, 8), (4, 4, 4)], [(16, 16), (32, 32), (16, 16, 16), (32, 16, 16), (32, 32, 32)])
    off = {str(dtype): worst_error(sizes, dtype=dtype) for dtype in (torch.float64, torch.bfloat16)}
    some = partial(convolving, "monarch", gated=False, factors=(32, 32))
    run = {kept: multiply_adds(some(keep_freq=(kept, 32))(512)) for kept in (32, 16, 8)}
    whole, fewer = _losses(scale)
    nats = {way: whole["all"]["nats", way].mean for way in WAYS}
    more = {way: value / nats[ALL] - 1 for way, value in nats.items()}
    more |= {name: row["nats", ALL].mean / nats[ALL] - 1 for name, row in fewer.items()}
    lengths = scale.pick([64, 128], [1024, 4096, 16384])
    calls = timed({backend: convolving(backend) for backend in ("fft", "monarch")})
    seconds, _ = cost_after(calls, lengths, scale, repeats=scale.pick(1, 5))
    faster = {str(n): seconds["fft"][n].mean / seconds["monarch"][n].mean for n in lengths}
    return Verdict(
        figures={
            "error over norm, worst": off,
            "multiply-adds by blocks of frequencies kept, of 32": {str(kept): count for kept, count in run.items()},
            "nats a word; how far logits move with later words, over their spread": whole.to_json(),
            "nats a word, fewer taps": fewer.to_json(),
            "share of nats more than with all": more,
            "seconds on this CPU, by tokens": seconds.to_json(),
            "products are so many times as fast as the FFT": faster,
        },
        checks={
            "float64 to 1e-10": off[str(torch.float64)] <= 1e-10,
            "bfloat16 to 1e-2": off[str(torch.bfloat16)] <= 1e-2,
            "executed products in exact proportion": run[32] == 2 * run[16] == 4 * run[8],
            "a quarter of the taps: at most 1 % more": more["256 taps"] <= 0.01,
            "by products: the same loss": abs(nats[PRODUCTS] - nats[ALL]) <= 1e-4,
            "a quarter of the frequencies: at most 1 % more": more[QUARTER] <= 0.01,
        },
        controls={
            "8 taps, and a 32nd of the frequencies: more than 1 %": min(more["8 taps"], more[FEW]) > 0.01,
            "a CPU: not twice as fast by products": max(faster.values()) < 2,
        },
        note="float32, one core, where the FFT is meant to win; what is cut in frequency reads a little ahead",
    )


def _losses(scale: Scale) -> tuple[Curves, Curves]:
    length, steps, factors, batch, tests = scale.pick((16, 2, (4, 8), 2, 2), (1024, 250, (32, 64), 4, 16))
    low, some = factors[0], partial(texts, length=length, units=WORDS_OF_TEXT)
    kept = [{"factors": factors, "keep_freq": (low, max(1, factors[1] // part))} for part in (8, 64)]
    ways = dict(zip(WAYS, [None, {"backend": "monarch"}, *kept], strict=True))
    measure = measured_with(ways, partial(some, tests, split="held-out"))
    train = partial(trained, measure=measure, setting=scale, steps=steps, lr=5e-3)
    train = partial(train, batch=lambda seed, step: some(batch, seed=10_000 * seed + step))
    small = partial(build, scale.pick(4, 32), length=length)
    points = [(what, way) for what in ("nats", "ahead") for way in WAYS]
    taps = scale.pick({"256 taps": 4, "8 taps": 2}, {"256 taps": 256, "8 taps": 8})
    arms = {name: train(partial(small, keep_time=count)) for name, count in taps.items()}
    return sweep("all taps", {"all": train(small)}, points, scale), sweep("taps", arms, [("nats", ALL)], scale)
