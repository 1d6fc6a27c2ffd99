"""Costs that are known beforehand."""

import pytest
import torch

from seefar.evals.long_attention import attention_bytes, attention_seconds, expected
from seefar.evals.protocols import Curves, Figure


def test_each_way_is_timed_at_its_own_lengths_after_one_pass_to_warm_up():
    seen, ticks = [], iter(range(1000))

    def attend(q, k, v):
        seen.append((q.shape[2], torch.is_grad_enabled()))
        return q * k * v

    costs = attention_seconds({"a": attend}, {"a": (2, 5)}, width=3, repeats=2, clock=lambda: next(ticks))
    assert seen == [(2, True)] * 3 + [(5, True)] * 2
    assert {n: figure.mean for n, figure in costs["a"].items()} == {2: 1.0, 5: 1.0}
    attention_seconds({"a": attend}, {"a": (4,)}, backward=False)
    assert seen[-1] == (4, False)


def test_bytes_are_the_most_that_are_held():
    ways = {"pairs": lambda q, k, v: (q @ k.mT) @ v, "tokens": lambda q, k, v: q + v}
    costs = attention_bytes(ways, (128, 512), width=8, backward=False)
    assert costs["tokens"][512].mean == 512 * 8 * 4
    assert costs["pairs"][512].mean == 512 * 512 * 4 + 512 * 8 * 4


def test_beyond_the_measured_lengths_the_power_law_goes_on():
    costs = Curves({"a": {n: Figure((3.0 * n**2,)) for n in (10, 20, 40)}})
    assert expected(costs, "a", 20) == 1200
    assert expected(costs, "a", 400) == pytest.approx(480_000)
    with pytest.raises(ValueError, match="measured up to 40"):
        expected(costs, "a", 30)
