"""Costs whose crossing is known, and how many bytes forms of attention hold."""

import time

import pytest
import torch

from seefar.evals.crossover import crossing_of_bytes, crossing_of_seconds, meeting, taylor_forms
from seefar.ops.taylor_attention.switch import fewer_numbers_from


def test_costs_meet_where_their_lines_do():
    lengths = (10, 20, 40, 80)
    assert meeting({"linear": {n: 300 * n for n in lengths}, "square": {n: 7 * n * n for n in lengths}}) == (
        pytest.approx(300 / 7)
    )


def test_seconds_are_those_of_the_processor():
    def sleep(length):
        return lambda: time.sleep(0.005)

    def work(length):
        return lambda: sum(i * i for i in range(20_000 * length))

    found = crossing_of_seconds({"asleep": sleep, "at work": work}, (1, 8), repeats=3)
    assert all(cost < 0.002 for cost in found.costs["asleep"].values())
    assert set(found.to_json()) == {"tokens", "costs"}


def test_bytes_meet_where_the_tensors_do():
    arms = {"flat": lambda n: lambda: torch.ones(100 * n), "square": lambda n: lambda: torch.ones(n, n)}
    assert crossing_of_bytes(arms, (50, 200)).tokens == pytest.approx(100, rel=0.01)


def test_taylor_forms_hold_what_the_authors_count():
    d = 16
    guess = fewer_numbers_from(d)
    found = crossing_of_bytes(taylor_forms(d, 1, tile=None), [round(guess * f) for f in (0.7, 1.4)])
    assert found.tokens == pytest.approx(guess, rel=0.3)


def test_costs_that_do_not_cross_are_refused():
    with pytest.raises(ValueError, match="two arms"):
        meeting({"one": {1: 1.0, 2: 2.0}})
    with pytest.raises(ValueError, match="does not gain"):
        meeting({"square": {1: 1.0, 2: 4.0}, "linear": {1: 1.0, 2: 2.0}})
