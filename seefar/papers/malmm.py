"""MA-LMM: a video of any length, watched a frame at a time beside a memory of one size (He et al. 2024).

The Q-Former in front of a language model looks at each frame beside the tokens of earlier frames and, in each layer,
what its own queries were at earlier frames. When a memory is full, the two neighbours in time that are most alike
become one. What the queries know after the last frame is all that the language model is given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from seefar.compress.resample import QueryResampler
from seefar.compress.select import Uniform
from seefar.compress.stream import Stream
from seefar.evals.protocols import Arm, Measure, cost_sweep, length_sweep
from seefar.memory.bank import Bank, Fifo, Reduce
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.frames import LearnedFrames
from seefar.sequence import VisualSequence
from seefar.synthetic.procedure import ORDERS, procedures
from seefar.training.fit import cosine, fit

Way = Callable[[nn.Module, VisualSequence], Tensor]
CARD = Card(
    number=85,
    title="MA-LMM: Memory-Augmented Large Multimodal Model for Long-Term Video Understanding",
    arxiv="2404.05726",
    code="boheumd/MA-LMM",
    published="accuracy of 93.0 % on Breakfast and 93.2 % on COIN, 100 frames a video and no more memory than 20 need",
    holds_when=(
        "procedures of three short steps and long waits, four classes by the order of the steps: a Q-Former of two "
        "layers with banks of 8 frames, trained on 16. Accuracy at 256 frames is within 0.05 of that at 16, at least "
        "0.10 above banks that forget the oldest and 0.10 above 8 frames chosen evenly; the most bytes held while "
        "watching grow by at most 1 % from 32 to 256 frames"
    ),
    control="those two, trained alike, must lose more than 0.05 from 16 to 256 frames; banks that keep all must grow",
)
KEPT = 8
"""Frames that a bank may hold, and frames chosen evenly."""
SLOTS, SOURCE, DIM, RATE = 2, 16, 32, partial(cosine, warmup=10)


def build(
    resampler: QueryResampler, *, slots: int = 257, memory: int = 20, words: int = 0, reduce: Reduce | None = None
) -> Stream:
    """A resampler with a bank for frames of ``slots`` tokens, and one for its queries and text at each layer."""
    if memory < 1:
        raise ValueError(f"malmm: a bank holds at least one frame, got memory={memory}")
    asked = len(resampler.queries) + words
    banks = [Bank(memory * asked, asked, reduce) for _ in resampler.layers]
    return Stream(resampler, Bank(memory * slots, slots, reduce), banks)


def claim(scale: Scale) -> Verdict:
    """Three ways to hold 8 frames, each trained by itself on 16; then longer videos."""
    lengths, costs = scale.pick([16], [16, 64, 256]), scale.pick([13, 16], [32, 256])
    ways: dict[str, Way] = {"malmm": _watch, "fifo": partial(_watch, reduce=Fifo())}
    ways["8 frames chosen evenly"] = lambda net, film: _watch(net, Uniform()(film, KEPT * SLOTS))
    found = length_sweep({name: _arm(way, scale) for name, way in ways.items()}, lengths, scale, name="order of steps")
    rooms = {"malmm": lambda frames: _cost(frames, KEPT), "everything kept": lambda frames: _cost(frames, frames)}
    held = cost_sweep(rooms, costs, scale, repeats=1)[1]
    short, long = ({name: found[name][at].mean for name in ways} for at in (lengths[0], lengths[-1]))
    growth = {name: held[name][costs[-1]].mean / held[name][costs[0]].mean for name in rooms}
    rivals = list(ways)[1:]
    checks = {"as good on the longest videos": long["malmm"] >= short["malmm"] - 0.05}
    checks |= {f"0.10 above {name}": long["malmm"] >= long[name] + 0.10 for name in rivals}
    return Verdict(
        {"accuracy by frames": found.to_json(), "most bytes by frames": held.to_json(), "growth of bytes": growth},
        checks | {"bytes constant in the frames": growth["malmm"] <= 1.01},
        {f"{name} does not last": long[name] < short[name] - 0.05 for name in rivals}
        | {"keeping everything grows": growth["everything kept"] > 1.01},
        note="no language model and no eyes are in this: a linear layer reads the queries. Places of frames begin as a "
        "ramp: those that begin at zero, as the released ones do, learn nothing through banks without gradients",
    )


def _watch(net: nn.Module, film: VisualSequence, reduce: Reduce | None = None, memory: int = KEPT) -> Tensor:
    resampler = net.get_submodule("resampler")
    assert isinstance(resampler, QueryResampler)
    return build(resampler, slots=SLOTS, memory=memory, reduce=reduce).run(film, total=len(film) // SLOTS).tokens


def _net() -> nn.Module:
    places = LearnedFrames(SOURCE, 16, stretch=True)
    places.table.data = torch.linspace(1, 4, 16)[:, None] * torch.randn(SOURCE)
    resampler = QueryResampler(SOURCE, DIM, queries=4, depth=2, heads=4, places=places)
    return nn.ModuleDict({"resampler": resampler, "head": nn.Linear(4 * DIM, len(ORDERS))})


def _arm(way: Way, scale: Scale) -> Arm:
    steps, batch, count = scale.pick((1, 2, 2), (80, 32, 256))

    def guess(net: nn.Module, film: VisualSequence) -> Tensor:
        return net.get_submodule("head")(way(net, film).flatten(1))

    def loss(net: nn.Module, data: tuple[VisualSequence, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return nn.functional.cross_entropy(guess(net, data[0]), data[1]), {}

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        net, first = _net(), 100_000 * (seed + 1)
        fit(net, lambda step: procedures(batch, 16, seed=first + step), loss, steps=steps, lr=5e-3, schedule=RATE)

        @torch.inference_mode()
        def accuracy(frames: int) -> float:
            film, labels = procedures(count, frames, seed=first - frames)
            return float((guess(net, film).argmax(-1) == labels).float().mean())

        return accuracy

    return prepare


def _cost(frames: int, memory: int) -> Callable[[], Tensor]:
    net, (film, _) = _net(), procedures(1, frames, seed=0)
    return lambda: torch.inference_mode()(_watch)(net, film, memory=memory)
