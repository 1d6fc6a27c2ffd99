"""Sequence parallelism: a rank holds a piece of the sequence instead of some of the heads, so heads set no limit.

Tensor parallelism shares heads: no more ranks than heads, and each holds the whole sequence between layers. Here each
holds its tokens alone. Attention needs those of others: keys go around a ring for the scores, then values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seefar.distributed import Ranks, ring_self_attention
from seefar.distributed.launch import Where
from seefar.evals import sequence_parallel as parallel
from seefar.evals.split_memory import Machine, Split, measured_law
from seefar.ops.attention import attention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=52,
    title="Sequence Parallelism: Long Sequence Training from System Perspective",
    arxiv="2105.13120",
    code="hpcaitech/ColossalAI",
    published="64 P100 GPUs, BERT: 13.7 times the batch and 3 times the length that tensor parallelism reaches",
    holds_when="four processes give the outputs and gradients of one to 1e-10, causal or not; a rank sends "
    "2 (P - 1) n d numbers a head forward and twice that backward, exactly; a rank keeps a P-th of a layer to 1 %, "
    "measured at P <= 8; by the law of these measurements BERT-base (12 heads, batch 64, 16 GB) takes sequences "
    ">= 3 times as long on 64 ranks as with tensor parallelism, which has no use for more than 12",
    control="gradients divided by P as in the released code: must not be those of one process; twelve ranks, which "
    "heads can share too: must not take sequences 3 times as long as tensor parallelism",
)
WIDTH, HEADS, ROWS = 8, 12, 64
Attend = Callable[..., Any]


def build(ranks: Ranks, *, causal: bool = False) -> Attend:
    """The attention of every layer of a model whose sequence is shared; all else in it concerns one token."""
    return partial(ring_self_attention, ranks=ranks, causal=causal)


def claim(scale: Scale) -> Verdict:
    """Exactness and bytes on real processes (threads at the smallest scale), memory on one rank of up to eight."""
    world, length = scale.pick((2, 8), (4, 256))
    where: Where = scale.pick("threads", "processes")
    found = parallel.sweeps(
        parallel.one_launch(world, on_rank, scale.seeds, length, where=where),
        {
            "digits that one process gives too": (("ring self-attention", "gradients divided by P"), ("all", "causal")),
            "bytes over those of the formula": (("sent",), ("forward", "backward")),
        },
        scale,
    )
    digits, sent = found.values()
    right, divided = digits["ring self-attention"], digits["gradients divided by P"]
    lengths = scale.pick((32, 48), (192, 288, 384))
    ways: dict[Split, tuple[int, ...]]
    ways = {"tokens": scale.pick((1, 2), (1, 2, 4, 8)), "heads": scale.pick((1, 2), (1, 2, 4, 12))}
    law = {split: measured_law(split, each, lengths, WIDTH * HEADS, HEADS) for split, each in ways.items()}
    longer = {at: Machine().times_longer(law, at, ROWS) for at in (12, 64)}
    batch = [Machine().largest(split, 64, law[split], 512) for split in ways]
    kept = law["tokens"]
    return Verdict(
        figures={title: curves.to_json() for title, curves in found.items()}
        | {
            "bytes of a layer and row": {split: vars(each) for split, each in law.items()},
            "length over tensor parallelism's, by ranks": longer,
            "longest on 64 ranks": {split: Machine().longest(split, 64, law[split], ROWS) for split in ways},
            "batch over tensor parallelism's, 64 ranks, length 512": batch[0] / max(1, batch[1]),
        },
        checks={
            "outputs and gradients of one process to 1e-10": min(figure.low for figure in right.values()) >= 10,
            "bytes are those of the formula": {figure.mean for figure in sent["sent"].values()} == {1.0},
            "a rank keeps a P-th of a layer, to 1 %": kept.error <= 0.01 and abs(kept.whole) <= 0.01 * kept.shared,
            "64 ranks: >= 3 times tensor parallelism's length": longer[64] >= 3,
        },
        controls={
            "gradients divided by P: not those of one process": max(figure.high for figure in divided.values()) < 10,
            "12 ranks: not 3 times tensor parallelism's length": longer[12] < 3,
        },
        note="Memory only: on one machine, ranks share its cores. 64 ranks follow from the law, not from a run.",
    )


def on_rank(ranks: Ranks, seed: int, length: int) -> dict[str, dict[Any, float]]:
    """Digits that agree with one process, and bytes over those of the formula."""
    given = tensors(seed, length)
    ways: dict[str, tuple[Attend, Attend]]
    ways = {"all": (build(ranks), attention), "causal": (build(ranks, causal=True), partial(attention, causal=True))}
    arms: dict[str, dict[Any, float]] = {
        "ring self-attention": {
            name: parallel.digits(ranks, attend, whole, given) for name, (attend, whole) in ways.items()
        },
        "gradients divided by P": {
            name: parallel.digits(ranks, released(attend, ranks.world), whole, given)
            for name, (attend, whole) in ways.items()
        },
    }
    own = {name: x.chunk(ranks.world, 2)[ranks.rank].requires_grad_() for name, x in given.items()}
    there, back = parallel.traffic(ranks, build(ranks), own)
    formula = 2 * (ranks.world - 1) * own["k"].nbytes
    return arms | {"sent": {"forward": there.sent / formula, "backward": back.sent / (2 * formula)}}


def released(attend: Attend, world: int) -> Attend:
    """The same output with gradients divided by the number of ranks, as the released code has them."""

    def divided(**given: Tensor) -> Any:
        return attend(**{name: x / world + (x - x / world).detach() for name, x in given.items()})

    return divided


def tensors(seed: int, length: int) -> dict[str, Tensor]:
    """Queries, keys and values, four heads."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(1, 4, length, 16, generator=generator, dtype=torch.float64) for name in "qkv"}
