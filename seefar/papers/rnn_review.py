"""A review of recurrent networks: why plain ones forget, and how gates remember (Lipton et al. 2015).

A recurrent network sees its past through one state, and its gradient has to come back through every rewriting of it.
In a plain cell each step multiplies the gradient by the same matrix and by slopes below one: it shrinks, or grows,
like a power of the lag. Gates that can hold a state as it is let it pass. Reading from the end as well tells a token
of its future; cutting the gradient bounds what a step of training costs.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.gaps import accuracy, gradient_by_lag, learns, slope, spectral_fade, squared_error
from seefar.evals.protocols import Arm, Measure, sweep
from seefar.mixers.base import Mixer
from seefar.mixers.lru import LRU
from seefar.mixers.pattern import column
from seefar.mixers.recurrent import ELMAN, GRU, LSTM, RNN
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.gaps import adding, echo

CARD = Card(
    number=144,
    title="A Critical Review of Recurrent Neural Networks for Sequence Learning",
    arxiv="1506.00019",
    code=None,
    published="a survey: the gradient over k tokens goes like the k-th power of the largest eigenvalue times the slope "
    "of the activation; LSTM and its kin bridge gaps of more than 1000 tokens",
    holds_when="An Elman cell of 64 units, orthogonal U of radius 0.7, 0.9, 1 and 1.1, inputs of size 0.3 and 1: the "
    "slope of its log gradient over lags up to 60 is what radius and slopes of tanh tell, to 10 %. Adding two numbers "
    "(width 32, 600 updates of 32 sequences): LSTM and GRU have a mean squared error below 0.02 at 100 tokens with "
    "every seed. Saying what comes 3 tokens later: both directions at least 10 points better than one. An LRU "
    "with MLPs is trained beside them without a bar",
    control="an Elman cell that starts orthogonal, trained alike, must miss 0.02 on the mean at 25 tokens, a quarter "
    "of the length, and at 100; one direction must stay within 5 points of chance on what comes later; the radius "
    "alone, without the slopes of tanh, must miss 10 %",
)
RADII, SIZES = (0.7, 0.9, 1.0, 1.1), (0.3, 1.0)


def build(arm: str, length: int, dim: int = 32) -> SequenceModel:
    """A network that reads a sequence of pairs and gives one number; ``arm`` is elman, lstm, gru or lru."""
    mixers = column("F R F" if arm == "lru" else "R", dim, R=lambda: _mixer(arm, length, dim))
    return SequenceModel(mixers, dim, 1, channels=2, pool="last")


def claim(scale: Scale) -> Verdict:
    """Gradients by lag, then what cells learn to bridge, then what a second direction is worth."""
    points = [(radius, size) for radius in RADII for size in SIZES]
    fade = sweep("fade", {"off by": _fade(True), "radius alone off by": _fade(False)}, points, scale)
    steps, lengths = scale.pick((1, (4, 8)), (600, (25, 100)))
    tests = scale.pick(8, 1000)
    told = {
        name: learns(partial(build, name), adding, squared_error, scale, steps=steps, tests=tests)
        for name in ("elman", "lstm", "gru", "lru")
    }
    errors = sweep("adding", told, lengths, scale)
    ahead = partial(echo, lag=-3, symbols=4)
    ways = {
        name: learns(partial(_labels, both), ahead, accuracy, scale, steps=scale.pick(1, 200), tests=tests)
        for name, both in (("one direction", False), ("both directions", True))
    }
    later = sweep("what comes later", ways, [20], scale)
    (short, long), one, both = lengths, *(later[way][20].mean for way in ways)
    figures = {
        "fade of the gradient, off by a share": fade.to_json(),
        "mean squared error of adding, by tokens": errors.to_json(),
        "accuracy on what comes 3 tokens later": later.to_json(),
    }
    checks = {
        "the gradient fades as told": max(max(f.values) for f in fade["off by"].values()) <= 0.1,
        "LSTM bridges the long gap": max(errors["lstm"][long].values) < 0.02,
        "GRU bridges the long gap": max(errors["gru"][long].values) < 0.02,
        "both directions: 10 points more": both >= one + 0.1,
    }
    controls = {
        "Elman misses a quarter of it": errors["elman"][short].mean >= 0.02,
        "Elman misses the long gap": errors["elman"][long].mean >= 0.02,
        "one direction cannot know": abs(one - 0.25) <= 0.05,
        "the radius alone does not tell": max(f.mean for f in fade["radius alone off by"].values()) > 0.1,
    }
    return Verdict(figures, checks, controls, "gates begin open for up to the length (arXiv 1804.11188), not half open")


def _mixer(arm: str, length: int, dim: int) -> Mixer:
    if arm == "lru":
        return LRU(dim, radius=(0.9, 0.999), phase=0.3)
    gated = {"lstm": LSTM, "gru": GRU}
    return _orthogonal(dim, 1.0) if arm == "elman" else RNN(dim, cell=gated[arm], horizon=length)


def _orthogonal(dim: int, radius: float) -> RNN:
    mixer = RNN(dim, cell=ELMAN)
    nn.init.orthogonal_(mixer.get_parameter("weight_hh_l0"), radius)
    return mixer


def _labels(both: bool, length: int) -> SequenceModel:
    return SequenceModel(column("R", 32, R=lambda: RNN(32, cell=GRU, bidirectional=both)), 32, 4, channels=4)


def _fade(slopes: bool) -> Arm:
    def prepared(seed: int) -> Measure:
        return partial(_off_by, slopes, seed)

    return prepared


def _off_by(slopes: bool, seed: int, point: tuple[float, float]) -> float:
    """A share of what is told, or of a tenth of a nat a token where that is less."""
    torch.manual_seed(seed)
    mixer = _orthogonal(64, point[0]).double()
    x = point[1] * torch.randn(8, 60, 64, dtype=torch.float64)
    told = spectral_fade(mixer, x) if slopes else math.log(point[0])
    return abs(slope(gradient_by_lag(mixer, x)) - told) / max(abs(told), 0.1)
