"""LASP-2: a long sequence is shared among ranks that tell each other one small matrix each, whatever its length.

Attention without a softmax sums the past up in a matrix, so a rank need not see the tokens of the others, only their
sums: one all-gather of these forward, one of their gradients backward, while each rank works on its own tokens. In a
model with some softmax layers those gather keys and values, which are few when heads share them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seefar.distributed import Ranks, gathered_attention, on_ranks, state_attention
from seefar.distributed.launch import Where
from seefar.distributed.state_gather import Exchange
from seefar.evals import sequence_parallel as parallel
from seefar.ops.linear_attention import linear_attention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=125,
    title="LASP-2: Rethinking Sequence Parallelism for Linear Attention and Its Hybrid",
    arxiv="2502.07563",
    code="OpenSparseLLMs/Linear-MoE",
    published="2048K tokens on 64 GPUs: 15.2 % faster than LASP (states around a ring), 36.6 % than ring attention",
    holds_when="four processes, heads of width 64: with 8192 tokens a rank, states take >= 200 times fewer bytes than "
    "keys and values around a ring; their bytes do not grow with the length; one collective forward and one backward; "
    "outputs and gradients are those of one process to 1e-10; an exchange around a ring takes >= 1.3 times as long",
    control="keys and values gathered instead of states: must grow with the length and not take 200 times fewer",
)
WIDTH = 64
STATES, BACK = "states gathered", "their gradients gathered"
RING, KEYS = "keys and values around a ring", "keys and values gathered"
Layer = Callable[..., Any]


def build(ranks: Ranks, layers: str = "LLLN", *, exchange: Exchange = "all_gather") -> list[Layer]:
    """The attention of each layer of a model whose sequence is shared: L linear, N softmax."""
    kinds: dict[str, Layer] = {"L": partial(state_attention, exchange=exchange), "N": gathered_attention}
    if not layers or set(layers) - set(kinds):
        raise ValueError(f"lasp2: layers are written with L (linear) and N (softmax), such as 'LLLN', got {layers!r}")
    return [partial(kinds[letter], ranks=ranks) for letter in layers]


def claim(scale: Scale) -> Verdict:
    """Bytes, collectives, exactness and seconds on real processes (threads at the smallest scale)."""
    world, repeats, step = scale.pick((2, 1, 16), (4, 3, 16384))
    lengths: tuple[int, ...] = scale.pick((8, 16), (2048, 4096, 8192))
    where: Where = scale.pick("threads", "processes")
    found = parallel.sweeps(
        lambda seed: on_ranks(world, on_rank, seed, lengths, step, repeats, where=where),
        {
            "bytes a rank sends": ((STATES, BACK, RING, KEYS), lengths),
            "collectives": (("collectives",), ("forward", "backward")),
            "digits that one process gives too": (("digits",), ("all_gather", "ring")),
            "seconds": (("exchange", "step"), ("all_gather", "ring")),
        },
        scale,
    )
    sent, calls, right, time = found.values()
    longest = lengths[-1]
    fewer = {arm: sent[arm][longest].mean / sent[STATES][longest].mean for arm in (RING, KEYS)}
    growth = {arm: sent[arm][longest].mean / sent[arm][lengths[0]].mean for arm in sent}
    slower = {what: time[what]["ring"].mean / time[what]["all_gather"].mean for what in time}
    return Verdict(
        figures={title: curves.to_json() for title, curves in found.items()}
        | {"times fewer than": fewer, "bytes, longest over shortest": growth, "ring over all-gather, seconds": slower},
        checks={
            "states: >= 200 times fewer bytes than keys and values around a ring": fewer[RING] >= 200,
            "states: bytes do not grow with the length": growth[STATES] == growth[BACK] == 1,
            "states: one collective forward, one backward": {f.mean for f in calls["collectives"].values()} == {1.0},
            "outputs and gradients of one process to 1e-10": min(f.low for f in right["digits"].values()) >= 10,
            "an exchange around a ring takes >= 1.3 times as long": slower["exchange"] >= 1.3,
        },
        controls={
            "keys and values gathered: bytes grow with the length": growth[KEYS] > 1,
            "keys and values gathered: not 200 times fewer than around a ring": fewer[RING] < 200 * fewer[KEYS],
        },
        note="Processes of one machine, which share its cores: seconds of a step say little of a cluster.",
    )


def on_rank(ranks: Ranks, seed: int, lengths: tuple[int, ...], step: int, repeats: int) -> dict[str, dict[Any, float]]:
    """All that one rank measures."""
    linear, softmax = build(ranks, "LN")
    ways = {way: build(ranks, "L", exchange=way)[0] for way in ("all_gather", "ring")}
    states = {n: parallel.traffic(ranks, linear, tensors(seed, n, learn=True)) for n in lengths}
    others: dict[str, Layer] = {RING: partial(parallel.circulate, ranks=ranks), KEYS: softmax}
    tokens = {
        arm: {n: float(parallel.traffic(ranks, attend, tensors(seed, n))[0].sent) for n in lengths}
        for arm, attend in others.items()
    }
    gated = tensors(seed, 16 * ranks.world, torch.float64)
    gated |= {"decay": gated["q"].sigmoid().mean(-1)}
    there, back = states[lengths[-1]]
    return tokens | {
        STATES: {n: float(forward.sent) for n, (forward, _) in states.items()},
        BACK: {n: float(backward.sent) for n, (_, backward) in states.items()},
        "collectives": {"forward": float(there.collectives), "backward": float(back.collectives)},
        "digits": {way: parallel.digits(ranks, attend, linear_attention, gated) for way, attend in ways.items()},
        "exchange": parallel.seconds(ranks, ways, tensors(seed, 1, learn=True), repeats=10 * repeats),
        "step": parallel.seconds(ranks, ways, tensors(seed, step, learn=True), repeats=repeats),
    }


def tensors(seed: int, n: int, dtype: torch.dtype = torch.float32, *, learn: bool = False) -> dict[str, Tensor]:
    """Queries, keys and values of n tokens, one head."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(1, 1, n, WIDTH, generator=generator, dtype=dtype).requires_grad_(learn) for name in "qkv"}
