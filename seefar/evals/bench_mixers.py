"""Which mixer to use, measured: what it recalls, what a long sequence costs, and what the next token costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.language import generating
from seefar.evals.metrics import machine
from seefar.evals.protocols import Arm, Curves, Measure, Setting, cost_sweep, recall
from seefar.evals.race import bar, bar_rows
from seefar.evals.recall import cost_after
from seefar.evals.report import draw_curves
from seefar.mixers import (
    EMA,
    LSTM,
    RNN,
    S4D,
    Attention,
    GatedDeltaNet,
    GatedMixer,
    GatedRecurrence,
    Hyena,
    Mamba,
    Mamba2,
    Modal,
    ScoredAttention,
)
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.pattern import MLP
from seefar.mixers.scored import TurningBias
from seefar.positions.rope import Rope
from seefar.synthetic.multi_query import Queries, multi_query_recall
from seefar.training.fit import Progress, fit


def _residual(make: Callable[[int], Mixer]) -> Callable[[int], Mixer]:
    return lambda dim: Block(dim, make(dim), mlp_ratio=0)


def _mega(dim: int) -> Mixer:
    width = dim // 2
    attention = ScoredAttention(chunk=64, bias=TurningBias(width))
    return GatedMixer(dim, memory=EMA(dim), attention=attention, width=width)


def _recurrent_hyena(dim: int) -> Mixer:
    """What ``distill`` makes of a Hyena at order 16, with waves drawn at random: they cost the same."""
    turn = torch.rand(2, dim, 8)
    waves = torch.polar(0.9 + 0.09 * turn[0], 3 * turn[1])
    return Hyena(dim, conv=Modal(waves, torch.randn(dim, 8) * (1 + 0j), torch.randn(dim)))


LAYERS: dict[str, Callable[[int], Mixer]] = {
    "Attention": _residual(lambda dim: Attention(dim, 4, rope=Rope(dim // 4))),
    "Attention, window 64": _residual(lambda dim: Attention(dim, 4, rope=Rope(dim // 4), window=64)),
    "Mamba": _residual(Mamba),
    "GatedRecurrence": _residual(GatedRecurrence),
    "Mamba2": _residual(lambda dim: Mamba2(dim, d_state=64, head_dim=dim // 2)),
    "GatedDeltaNet": _residual(lambda dim: GatedDeltaNet(dim, 2, key_width=dim // 2, value_width=dim // 2)),
    "S4D": _residual(S4D),
    "Mega, chunks of 64": _mega,
    "Hyena": _residual(Hyena),
    "Hyena, distilled": _residual(_recurrent_hyena),
    "LSTM": _residual(lambda dim: RNN(dim, cell=LSTM)),
}
"""Name -> a layer with its residual path, from the width; windows and chunks are shorter than the texts."""
UNTRAINED = ("Hyena, distilled",)
"""Made from a model that was trained: they recall what it recalls."""


@dataclass(frozen=True)
class Trials:
    """A ``Setting`` for a bench."""

    seeds: tuple[int, ...]
    progress: Progress | None = None
    folder: Path | None = None


def run(
    *,
    seeds: int = 2,
    steps: int = 400,
    pairs: tuple[int, ...] = (4, 8, 16, 32),
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192),
    ages: tuple[int, ...] = (1024, 4096, 16384, 65536),
    far: int = 1_000_000,
    only: tuple[str, ...] = tuple(LAYERS),
    progress: Progress | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Train two layers of each mixer on recall; time one layer over long sequences, and two on the next token.

    Args:
        seeds: of the training.
        steps: of training, each of 64 texts of 96 tokens or more with 1 to ``pairs[-1]`` pairs.
        pairs: told in a text that is asked about.
        lengths: of a sequence that goes forward and backward through one layer of width 128.
        ages: tokens that were read before the next 16.
        far: the same, for those alone whose state does not grow.
        only: which of ``LAYERS``.
        progress: called as the work goes on.
        folder: where what was learnt is kept, so that a stopped run goes on; None keeps nothing.

    Raises:
        ValueError: a name that is none of ``LAYERS``.
    """
    if unknown := sorted(set(only) - set(LAYERS)):
        raise ValueError(f"bench mixers: no mixer {unknown[0]!r}, there are {', '.join(LAYERS)}")
    setting = Trials(tuple(range(seeds)), progress, folder)
    layers = {name: LAYERS[name] for name in only}
    learnt = {
        name: _recalls(layer, steps, pairs[-1], setting) for name, layer in layers.items() if name not in UNTRAINED
    }
    found = recall(learnt, pairs, setting, name=f"multi-query recall after {steps} steps")
    seconds, bytes_ = cost_sweep({name: _both_ways(layer) for name, layer in layers.items()}, lengths, setting)
    torch.manual_seed(0)
    streams = {name: generating(_model(layer, 64, 128), 128) for name, layer in layers.items()}
    tokens, held = cost_after(streams, ages, setting, repeats=5)
    endless = {name: stream for name, stream in streams.items() if layers[name](64).bounded}
    late, _ = cost_after(endless, (ages[0], far), setting, repeats=5)
    return {
        "recall, share of questions by pairs told": found.to_json(),
        "seconds forward and backward by tokens": seconds.to_json(),
        "MB at most, forward and backward, by tokens": _scaled(bytes_, 1e-6),
        "exponent of the seconds over the lengths": {name: round(seconds.slope(name), 2) for name in layers},
        "milliseconds of the next token by tokens read": _scaled(tokens, 1000 / 16),
        "milliseconds of the next token, state that does not grow": _scaled(late, 1000 / 16),
        "bars": _bars(tokens, late, ages, far),
        "KB held by tokens read": {
            name: {str(a): round(b / 1e3, 1) for a, b in row.items()} for name, row in held.items()
        },
        "settings": {"seeds": seeds, "steps": steps, "threads": torch.get_num_threads()},
        "machine": machine(),
    }


def _bars(tokens: Curves, late: Curves, ages: Sequence[int], far: int) -> list[dict[str, Any]]:
    """A token after very many takes as long as after few, and a fraction of what it takes with a cache of all keys."""
    bars = []
    for name, row in late.items():
        slower = row[far].mean / row[ages[0]].mean
        bars.append(bar(f"{name}, a token after {far:,} over one after {ages[0]:,}", slower, at_most=1.2))
        if "Attention" in tokens:
            faster = tokens["Attention"][ages[-1]].mean / tokens[name][ages[-1]].mean
            bars.append(bar(f"{name}, a token after {ages[-1]:,}, times as fast as Attention", faster, at_least=3))
    return bars


def _model(layer: Callable[[int], Mixer], dim: int, words: int) -> SequenceModel:
    """Two layers, each followed by an MLP."""
    stack = Stack([each for _ in range(2) for each in (layer(dim), Block(dim, MLP(dim, ratio=2), mlp_ratio=0))])
    return SequenceModel(stack, dim, words, words=words)


def _recalls(layer: Callable[[int], Mixer], steps: int, most: int, setting: Setting) -> Arm:
    length = 3 * most

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = _model(layer, 64, 129)

        def batch(step: int) -> Queries:
            many = int(torch.randint(1, most + 1, (), generator=torch.Generator().manual_seed(step)))
            return multi_query_recall(64, length, many, seed=100_000 * (seed + 1) + step)

        def loss(net: nn.Module, data: Queries) -> tuple[Tensor, dict[str, float]]:
            return F.cross_entropy(net(data.ids)[0].flatten(0, 1), data.answers.flatten()), {}

        fit(model, batch, loss, steps=steps, lr=3e-3, progress=setting.progress)

        @torch.inference_mode()
        def share(pairs: int) -> float:
            data = multi_query_recall(200, length, pairs, seed=seed)
            return float(data.found_by(model(data.ids)[0]))

        return share

    return prepare


def _both_ways(layer: Callable[[int], Mixer]) -> Callable[[int], Callable[[], object]]:
    def prepare(length: int) -> Callable[[], object]:
        torch.manual_seed(0)
        mixer, x = layer(128), torch.randn(1, length, 128, requires_grad=True)
        leaves = [x, *(p for p in mixer.parameters() if p.requires_grad)]
        return partial(_forward_and_backward, mixer, x, leaves)

    return prepare


def _forward_and_backward(mixer: Mixer, x: Tensor, leaves: list[Tensor]) -> None:
    torch.autograd.grad(mixer(x)[0].sum(), leaves, allow_unused=True)


def _scaled(curves: Curves, factor: float) -> dict[str, dict[str, Any]]:
    return {
        name: {at: {k: factor * figure[k] for k in ("mean", "low", "high")} for at, figure in row.items()}
        for name, row in curves.to_json().items()
    }


def table(result: Mapping[str, Any]) -> str:
    """A row for each mixer: recall at most pairs, exponent, time and memory at the ends of what was measured."""
    found, seconds, most, tokens, held = (
        result[key]
        for key in (
            "recall, share of questions by pairs told",
            "seconds forward and backward by tokens",
            "MB at most, forward and backward, by tokens",
            "milliseconds of the next token by tokens read",
            "KB held by tokens read",
        )
    )
    name = next(iter(seconds))
    pairs, lengths, ages = list(next(iter(found.values()))), list(seconds[name]), list(tokens[name])
    lines = [
        f"| | recall, {pairs[0]} pairs | {pairs[-1]} pairs | s, {int(lengths[-1]):,} tokens both ways | like N to the "
        f"| MB | ms a token after {int(ages[0]):,} | after {int(ages[-1]):,} | KB held |",
        "|---|" + "---|" * 8,
    ]
    for name, row in seconds.items():
        share = [f"{found[name][at]['mean']:.2f}" if name in found else "" for at in (pairs[0], pairs[-1])]
        cost = [
            f"{row[lengths[-1]]['mean']:.2f}",
            f"{result['exponent of the seconds over the lengths'][name]:.2f}",
            f"{most[name][lengths[-1]]['mean']:,.0f}",
            *(f"{tokens[name][at]['mean']:.2f}" for at in (ages[0], ages[-1])),
            f"{held[name][ages[-1]]:,.0f}",
        ]
        lines.append(f"| {name} | " + " | ".join(share + cost) + " |")
    return "\n".join([*lines, "", *bar_rows(result["bars"])])


PICTURES = {
    "recall": "recall, share of questions by pairs told",
    "seconds": "seconds forward and backward by tokens",
    "memory": "MB at most, forward and backward, by tokens",
    "token": "milliseconds of the next token by tokens read",
}
"""Name of a picture -> the curves it draws."""


def draw(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """The pictures of a result, ``mixers-<name>.svg`` in a folder."""
    made = []
    for name, curves in PICTURES.items():
        made.append(Path(folder) / f"mixers-{name}.svg")
        draw_curves(result[curves], made[-1], title=curves)
    return made
