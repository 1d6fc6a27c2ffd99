"""Counts that can be done by hand."""

import torch

from seefar.evals.counted import divisions, multiply_adds, timed
from seefar.evals.recall import cost_after
from seefar.papers._card import Scale


def test_products_are_counted_as_they_run():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert multiply_adds(lambda: a @ b) == 3 * 5 * 7
    assert multiply_adds(lambda: (a * 2, torch.fft.rfft(a))) == 0


def test_divisions_are_counted_number_by_number():
    a, b = torch.ones(3, 5), torch.ones(3, 1)
    assert divisions(lambda: (a / b, a * b, a.div_(2), b.reciprocal())) == 15 + 15 + 3


def test_contenders_take_turns():
    runs = []
    calls = timed({name: lambda n, name=name: lambda: runs.append((name, n)) for name in "ab"})
    cost_after(calls, [1, 2], Scale("smoke", (0,)), repeats=1)
    pairs = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert sorted(runs[:4]) == sorted(runs[4:]) == pairs
