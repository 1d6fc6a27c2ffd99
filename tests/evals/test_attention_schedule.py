"""Counts that can be done by hand, and differences that must be there or not."""

import pytest
import torch

from seefar.evals import attention_schedule as part
from seefar.evals.counted import timed
from seefar.evals.protocols import sweep
from seefar.evals.recall import cost_after
from seefar.ops.attention.fa2 import formula_fa2
from seefar.papers._card import Scale

ONE = Scale("smoke", (0,))


@pytest.mark.parametrize("schedule", ["fa1", "fa2", "fa2, two passes"])
def test_every_schedule_is_exact(schedule):
    assert part.error(schedule, length=40, width=8, seed=0) < 1e-13


def test_a_wrong_result_would_show(monkeypatch):
    real = part.trace_fa2
    monkeypatch.setattr(part, "trace_fa2", lambda *a, **how: real(*a, **{**how, "causal": False}))
    assert part.error("fa2", length=40, width=8, seed=0) > 0.1


def test_counts_are_those_of_the_tiles():
    def of(what, *schedules):
        arms = {schedule: part.counted(schedule, what, width=8) for schedule in schedules}
        curves = sweep(what, arms, [32], ONE)
        return [curves[schedule][32].mean for schedule in schedules]

    assert of("divisions", "fa1", "fa2") == [4, 1]
    assert of("causal share of products", "fa2") == [5 / 8]
    assert of("moved forward", "fa2") == [formula_fa2(32, 32, 8, (8, 8))[0]]
    assert of("moved backward", "fa2, two passes") == [formula_fa2(32, 32, 8, (8, 8))[1]]


def test_sums_in_slow_memory_depend_on_who_comes_first():
    assert part.other_bits("fa2, two passes", length=64, width=8, seed=0) == 0
    assert part.other_bits("fa2", length=64, width=8, seed=0) > 0


def test_passes_run_forward_or_both_ways():
    seen = []

    def attend(q, k, v):
        seen.append((tuple(q.shape), torch.is_grad_enabled()))
        return q * k * v

    for backward in (False, True):
        calls = timed(part.passes({"a": attend}, heads=3, width=4, backward=backward))
        cost_after(calls, [5], ONE, repeats=1)
    assert seen == [((1, 3, 5, 4), False)] * 2 + [((1, 3, 5, 4), True)] * 2
