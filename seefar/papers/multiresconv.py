"""Multiresolution convolutional memory: a wavelet tree with learnt filters reads a sequence (Shi et al. 2023).

One pair of short filters splits a signal into a coarse and a fine part, and the coarse part again, with the taps twice
as far apart. A dozen such splits reach thousands of tokens, and each scale is read by one weight. So a channel has a
handful of weights where a state space has hundreds, and the price is a few short convolutions for each scale.

Where the claim falls short, and why, as far as we know. After 200 steps it names about 20 points fewer digits than S4D
does, and seeds differ much. The filters begin at random, as published, so each scale begins with a third of the energy
of the one before it and the far past is nearly silent at first, while S4D begins as a memory of all of it; longer
training, or wavelets to begin with, is the next thing to try. The fused op is 2.2 to 3.1 times as fast as convolutions
scale by scale on one busy core: turning tokens and channels and writing the past of a stream, as large as the input
once the scales reach all of it, cost as much as the filters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log

from torch import nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.level_by_level import contenders
from seefar.evals.pixel_digits import trained_on_digits
from seefar.evals.protocols import ablation, cost_sweep
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.multires import Multires
from seefar.mixers.s4 import S4D
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=119,
    title="Sequence Modeling with Multiresolution Convolutional Memory",
    arxiv="2305.01638",
    code="thjashin/multires-conv",
    published="93.15 % on sequential CIFAR-10, with fewer weights than S4; better than S4D on ListOps and PTB-XL",
    holds_when="real digits of 8 x 8 pixels, one pixel a token, 200 steps of 32 digits, two layers of 32 channels: "
    "with filters of 4 taps as many held-out digits are named as by S4D (64 states), less 1 point at most, and a mixer "
    "has at most 60 % of the weights of S4D's. At 8192 tokens and 256 channels, filters of 2 taps and 13 scales, the "
    "fused op takes at most a third of the seconds of the authors' way, torch's convolution scale by scale; from 1024 "
    "tokens on its seconds grow with N log N to the power 1.2 at most. 1024 pixels and ListOps are left out here",
    control="the same with one scale, which sees a few tokens: it must miss S4D by more than 1 point",
)


def build(dim: int = 256, depth: int = 10, *, kernel: int = 2, cover: int = 1024) -> Stack:
    """A column of multiresolution layers, each with its norm and residual path; a mixer itself, so it streams."""
    return Stack([Block(dim, Multires(dim, kernel=kernel, cover=cover), mlp_ratio=0) for _ in range(depth)])


def claim(scale: Scale) -> Verdict:
    """Digits by pixels for two memories of one width; then the seconds of the transform, two ways."""
    dim, steps = scale.pick((4, 2), (32, 200))
    mixers: dict[str, Callable[[], Mixer]] = {
        "multiresolution": lambda: Multires(dim, kernel=4, cover=64),
        "S4D": lambda: S4D(dim, states=scale.pick(4, 64)),
        "one scale": lambda: Multires(dim, kernel=4, cover=2),
    }

    def model(mixer: Callable[[], Mixer]) -> SequenceModel:
        column = Stack([Block(dim, mixer(), mlp_ratio=0) for _ in "12"])
        return SequenceModel(column, dim, 10, channels=1, pool="mean")

    train = partial(trained_on_digits, setting=scale, steps=steps, lr=1e-2)
    share = ablation({name: train(partial(model, mixer)) for name, mixer in mixers.items()}, scale)
    ours, peer, short = (share[name]["score"].mean for name in mixers)
    weights = {name: _weights(mixer()) for name, mixer in mixers.items()}
    lengths, channels = scale.pick(([64, 128], 4), ([1024, 2048, 4096, 8192], 256))
    ways = contenders(channels, 2, 2, reads=True)
    seconds, held = cost_sweep(ways, lengths, scale, repeats=scale.pick(1, 5))
    faster = {str(n): seconds["level by level"][n].mean / seconds["fused"][n].mean for n in lengths}
    first, last = lengths[0], lengths[-1]
    power = seconds.slope("fused") * log(last / first) / log(last * log(last) / (first * log(first)))
    return Verdict(
        figures={
            "share of digits named": share.to_json(),
            "weights of a mixer": weights,
            "seconds, by tokens": seconds.to_json(),
            "bytes at most, by tokens": held.to_json(),
            "times as fast as level by level": faster,
            "power of N log N": power,
        },
        checks={
            "within 1 point of S4D": ours >= peer - 0.01,
            "at most 60 % of the weights": weights["multiresolution"] <= 0.6 * weights["S4D"],
            "a third of the seconds of convolutions scale by scale": faster[str(last)] >= 3,
            "seconds grow with N log N to the power 1.2 at most": power <= 1.2,
        },
        controls={"one scale: not within 1 point of S4D": short < peer - 0.01},
        note="64 tokens are no long range: this shows the mechanism at work, not the scores of the paper",
    )


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
