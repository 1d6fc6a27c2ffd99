"""From which length on one way of computing a thing costs less than another."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from seefar.evals.protocols import peak_bytes
from seefar.ops.taylor_attention import taylor_attention

Arms = Mapping[str, Callable[[int], Callable[[], Any]]]
"""Two of them, ``prepare(length) -> call``; the first is the cheap one where sequences are long."""


@dataclass(frozen=True)
class Crossing:
    """Where two costs meet.

    Args:
        tokens: the length.
        costs: by arm and length.
    """

    tokens: float
    costs: Mapping[str, Mapping[int, float]]

    def power(self, arm: str) -> float:
        """Exponent p of ``cost ~ length^p`` for an arm."""
        return _line({n: math.log(cost) for n, cost in self.costs[arm].items()})[1]

    def to_json(self) -> dict[str, Any]:
        """As plain values, lengths as text."""
        return {
            "tokens": self.tokens,
            "costs": {arm: {str(n): cost for n, cost in row.items()} for arm, row in self.costs.items()},
        }


def crossing_of_seconds(arms: Arms, lengths: Sequence[int], *, repeats: int = 5) -> Crossing:
    """Where both take as many seconds of the processor, so that other programs on the machine do not count.

    The least of ``repeats`` calls after one to warm up, arms taking turns.

    Args:
        arms: what is compared.
        lengths: to measure at, two or more, best on both sides of the crossing.
        repeats: calls that are timed.
    """
    costs: dict[str, dict[int, float]] = {arm: {} for arm in arms}
    for length in lengths:
        calls = {arm: prepare(length) for arm, prepare in arms.items()}
        for turn in range(repeats + 1):
            for arm, call in calls.items():
                began = time.process_time()
                call()
                took = time.process_time() - began
                if turn:
                    costs[arm][length] = min(took, costs[arm].get(length, math.inf))
    return Crossing(meeting(costs), costs)


def crossing_of_bytes(arms: Arms, lengths: Sequence[int]) -> Crossing:
    """Where the tensors of both hold as many bytes at their highest."""
    costs = {arm: {n: float(peak_bytes(prepare(n))) for n in lengths} for arm, prepare in arms.items()}
    return Crossing(meeting(costs), costs)


def meeting(costs: Mapping[str, Mapping[int, float]]) -> float:
    """The length where a line through the logarithms of the ratio, first over second cost, comes to zero.

    Raises:
        ValueError: not two arms, fewer than two lengths, or a first arm that does not gain on the second.
    """
    if len(costs) != 2 or any(len(row) < 2 for row in costs.values()):
        raise ValueError(f"meeting: needs two arms and two lengths or more, got {costs}")
    first, second = costs.values()
    start, slope = _line({n: math.log(first[n] / second[n]) for n in first})
    if slope >= 0:
        raise ValueError(f"meeting: the first arm does not gain on the second with length, got {costs}")
    return math.exp(-start / slope)


def _line(logs: Mapping[int, float]) -> tuple[float, float]:
    """Start and slope of the line over the logarithm of the length, by least squares."""
    xs = [math.log(n) for n in logs]
    x, y = statistics.fmean(xs), statistics.fmean(logs.values())
    slope = sum((a - x) * (b - y) for a, b in zip(xs, logs.values(), strict=True)) / sum((a - x) ** 2 for a in xs)
    return y - slope * x, slope


def taylor_forms(d: int, heads: int, *, cheap: str = "outer", tile: int | None = 256) -> Arms:
    """``taylor_attention`` through sums (``cheap``, a backend) and pair by pair, without gradients, float32.

    Args:
        d: width of a head, of values too.
        heads: heads.
        cheap: "outer", which the authors count, or "linear".
        tile: of the op; None as the authors count memory.
    """

    def prepare(backend: str, length: int) -> Callable[[], Any]:
        q, k, v = torch.randn(3, 1, heads, length, d, generator=torch.Generator().manual_seed(length)).unbind()
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return torch.no_grad()(lambda: taylor_attention(q, k, v, tile=tile, backend=backend))

    return {cheap: partial(prepare, cheap), "direct": partial(prepare, "direct")}
