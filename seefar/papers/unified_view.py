"""A unified view of long-sequence models: every mixer is a matrix, and attention is shared among devices (2023).

Whatever a layer does along the sequence, it takes weighted sums of values; what differs is the class of the matrix of
the weights: all pairs, features, a pattern, a convolution, waves, a recurrence. The class decides what a layer costs
and what it can reach. All pairs, the dearest, fall apart into tiles of heads and queries that know nothing of each
other, so that devices can share them.
"""

from __future__ import annotations

from functools import partial

import torch

from seefar.analysis.mixing_examples import EXAMPLES
from seefar.analysis.mixing_matrix import Path, mixing_matrix
from seefar.analysis.mixing_table import mixing_table
from seefar.backbones.sequence import SequenceModel
from seefar.evals import sequence_parallel as parallel
from seefar.evals.context import by_context, far_symbol, last_bits
from seefar.evals.long_attention import Attend, attention_seconds
from seefar.evals.protocols import length_sweep
from seefar.evals.shared_heads import agreement, plain_attention, shares
from seefar.mixers.dilated import DilatedConv
from seefar.mixers.pattern import column
from seefar.mixers.softmax import Attention
from seefar.ops.attention import attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.remote import SYMBOLS, VOCABULARY

CARD = Card(
    number=31,
    title="A Unified View of Long-Sequence Models towards Modeling Million-Scale Dependencies",
    arxiv="2302.06218",
    code=None,
    published="longer contexts help, by how much depends on the task; distributed multi-head attention takes about 40 "
    "times the length on four RTX 4090 that plain attention takes on one",
    holds_when="13 small mixers at 32 tokens: all but the LSTM are y = M v to 1e-8, and each M is of the class that is "
    "expected (rank, pattern, distances alone, means, what a recurrence carries). A convolution, attention and an MLP, "
    "width 32, at most 250 steps of 2048 tokens: a symbol marked anywhere in 64 tokens is found at least 30 points "
    "more often with a context of 64 than of 8, while which of the last 5 bits are more is told within 3 points alike. "
    "Four processes give outputs and gradients of one to 1e-10, and tiles of 2 and 4 ranks take exactly 1/P of "
    "arithmetic and output. Attention tile by tile takes at most a third of the time of plain attention, 4096 tokens, "
    "4 heads",
    control="an LSTM read as if it were a matrix must be off by over 1e-3; a context of 8 must find at most 0.3 of the "
    "symbols; gradients of one tile without those of the others must not be those of one process. The published 40 "
    "times compare tiles on four devices with plain attention on one: that is not claimed here",
)


def build(dim: int = 32) -> SequenceModel:
    """A classifier of texts by their last token: neighbours by a convolution, all else by attention."""
    near, far = partial(DilatedConv, dim, kernel=9, factor=2, cover=9), partial(Attention, dim, 2)
    return SequenceModel(column("C A F", dim, C=near, A=far), dim, SYMBOLS, words=VOCABULARY, pool="last")


def claim(scale: Scale) -> Verdict:
    """The table; what context is worth; tiles on real processes, by count and by time."""
    N, dim = scale.pick((24, 4), (32, 8))
    torch.manual_seed(scale.seeds[0])
    x, mixers = torch.randn(2, N, dim).double(), {name: each.make(dim, N).double() for name, each in EXAMPLES.items()}
    rows = mixing_table(mixers, x)
    pretended = mixing_matrix(mixers["LSTM"], x, Path()).error

    learn = partial(by_context, build, setting=scale, tokens=scale.pick(64, 2048), tests=scale.pick(4, 300), lr=1e-2)
    far, near = scale.pick((2, 2), (250, 150))
    arms = {"remote copy": learn(far_symbol, steps=far), "local majority": learn(last_bits, steps=near)}
    found = length_sweep(arms, (8, 24, 64), scale, name="accuracy by context")
    gain = {name: found[name][64].mean - found[name][8].mean for name in arms}
    flat = [figure.mean for figure in found["local majority"].values()]

    launch = parallel.one_launch(scale.pick(2, 4), agreement, scale.seeds, where=scale.pick("threads", "processes"))
    both = ("tiles of all", "own tile alone"), ("all", "causal")
    digits = parallel.sweeps(launch, {"digits": both}, scale)["digits"]
    parts = {f"{h} x {r}": shares(h, r) for h, r in ((2, 1), (1, 2), (2, 2))}
    length = scale.pick(64, 4096)
    ways: dict[str, Attend] = {"tiles": attention, "plain": plain_attention}
    seconds = attention_seconds(ways, dict.fromkeys(ways, (length,)), heads=4, backward=False, repeats=scale.pick(1, 3))
    faster = seconds["plain"][length].mean / seconds["tiles"][length].mean
    return Verdict(
        figures={
            "mixers": {name: {"family": EXAMPLES[name].family} | vars(row) for name, row in rows.items()},
            "an LSTM as a matrix, error": pretended,
            "accuracy by context": found.to_json(),
            "points gained from 8 to 64": gain,
            "digits that one process gives too": digits.to_json(),
            "shares of arithmetic and output of each rank, heads x queries": parts,
            "seconds of the processor, forward": seconds.to_json(),
            "plain attention takes so many times as long": faster,
        },
        checks={
            "y = M v to 1e-8": max(row.error or 0.0 for row in rows.values()) <= 1e-8,
            "every mixer is of its class": all(EXAMPLES[name].fits(row, N) for name, row in rows.items()),
            "remote copy: 30 points from a longer context": gain["remote copy"] >= 0.3,
            "local majority: within 3 points": max(flat) - min(flat) <= 0.03,
            "one process's results to 1e-10": min(figure.low for figure in digits["tiles of all"].values()) >= 10,
            "exactly 1/P for each rank": all(set(s) == {1 / len(s)} for each in parts.values() for s in each),
            "a third of the time of plain attention": faster >= 3,
        },
        controls={
            "an LSTM is no matrix": pretended > 1e-3,
            "a context of 8: at most 0.3 of the symbols": found["remote copy"][8].mean <= 0.3,
            "own tile alone: not one process's gradients": max(f.high for f in digits["own tile alone"].values()) < 10,
        },
        note="small texts and few steps; ranks share the cores of one machine, so no speed of theirs is measured",
    )
