"""What attention costs on long sequences, each way at the lengths that it can bear."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from seefar.evals.protocols import Curves, Figure, peak_bytes

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values (1, H, N, d) to outputs of that shape."""


def attention_seconds(
    ways: Mapping[str, Attend],
    lengths: Mapping[str, Sequence[int]],
    *,
    heads: int = 1,
    width: int = 64,
    backward: bool = True,
    repeats: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> Curves:
    """The least seconds of ``repeats`` passes, after one at the shortest length to warm up.

    Args:
        ways: what is timed.
        lengths: of each of them, rising.
        heads: H.
        width: d.
        backward: gradients of queries, keys and values too.
        repeats: passes at each length.
        clock: that of the processor when left out, so that other programs do not count.
    """
    found = {}
    for name, attend in ways.items():
        row = {}
        for at, length in enumerate(lengths[name]):
            call = _pass(attend, length, heads, width, backward)
            took = []
            for turn in range(repeats + (at == 0)):
                began = clock()
                call()
                if turn or at:
                    took.append(clock() - began)
            row[length] = Figure((min(took),))
        found[name] = row
    return Curves(found)


def attention_bytes(
    ways: Mapping[str, Attend], lengths: Sequence[int], *, heads: int = 1, width: int = 64, backward: bool = True
) -> Curves:
    """The most bytes that tensors hold in a pass, beside queries, keys and values."""
    return Curves(
        {
            name: {n: Figure((float(peak_bytes(_pass(attend, n, heads, width, backward))),)) for n in lengths}
            for name, attend in ways.items()
        }
    )


def expected(costs: Curves, arm: str, length: int) -> float:
    """The cost at a length: as measured, or from the last measured one on by the power law of all of them."""
    if length in costs[arm]:
        return costs[arm][length].mean
    last = max(costs[arm])
    if length < last:
        raise ValueError(f"expected: {arm} was measured up to {last}, so {length} is no length to go on to")
    return costs[arm][last].mean * (length / last) ** costs.slope(arm)


def _pass(attend: Attend, length: int, heads: int, width: int, backward: bool) -> Callable[[], object]:
    q, k, v = torch.randn(3, 1, heads, length, width, generator=torch.Generator().manual_seed(length)).unbind()
    if not backward:
        return torch.no_grad()(lambda: attend(q, k, v))
    leaves = [part.requires_grad_() for part in (q, k, v)]
    weight = torch.ones_like(v)
    return lambda: torch.autograd.grad(attend(*leaves), leaves, weight)
