"""Experiments give every arm the same trials, stop and go on, and say how sure they are."""

import math

import pytest
import scipy.stats
import torch

from seefar.evals.protocols import (
    T_95,
    Curves,
    Figure,
    ablation,
    classification,
    cost_sweep,
    equal_budget,
    length_sweep,
    needle_curve,
    peak_bytes,
    recall,
    sweep,
)
from seefar.papers._card import Scale

SCALE = Scale("smoke", (0, 1, 2))


def test_the_interval_is_that_of_students_t():
    values = (0.2, 0.5, 0.4)
    low, high = scipy.stats.t.interval(0.95, 2, scipy.stats.tmean(values), scipy.stats.sem(values))
    assert Figure(values).low == pytest.approx(low, abs=1e-3)
    assert Figure(values).high == pytest.approx(high, abs=1e-3)
    assert all(T_95[n] == pytest.approx(scipy.stats.t.ppf(0.975, n), abs=1e-3) for n in T_95)
    assert Figure((0.7,)).low == Figure((0.7,)).high == 0.7


def test_a_slope_is_the_exponent_of_a_power_law():
    curves = Curves({"square": {n: Figure((3.0 * n**2,)) for n in (10, 20, 80)}})
    assert curves.slope("square") == pytest.approx(2)
    with pytest.raises(ValueError, match="a slope needs two"):
        Curves({"a": {1: Figure((1.0,))}}).slope("a")


def test_a_stopped_experiment_goes_on_without_repeating_a_trial(tmp_path):
    scale = Scale("smoke", (0, 1), tmp_path)
    calls = []

    def arm(seed):
        def measure(point):
            if len(calls) == 3:
                raise KeyboardInterrupt
            calls.append((seed, point))
            return seed + point

        return measure

    with pytest.raises(KeyboardInterrupt):
        sweep("sums", {"a": arm}, [10, 20], scale)
    with (tmp_path / "sums.jsonl").open("a") as file:
        file.write('{"arm": "a", "se')  # the line that was being written
    calls.append("resumed")
    curves = sweep("sums", {"a": arm}, [10, 20], scale)
    assert calls == [(0, 10), (0, 20), (1, 10), "resumed", (1, 20)]
    assert curves["a"][20].values == (20, 21)


def test_what_was_prepared_serves_all_points_of_a_seed():
    prepared = []

    def arm(seed):
        prepared.append(seed)
        return lambda point: 0.5

    sweep("shared", {"a": arm}, [1, 2, 3], SCALE)
    assert prepared == [0, 1, 2]


def test_numbers_that_are_none_are_refused():
    with pytest.raises(FloatingPointError, match="a at 1, seed 0, gave nan"):
        sweep("broken", {"a": lambda seed: lambda point: math.nan}, [1], SCALE)
    with pytest.raises(ValueError, match="needs arms and points"):
        sweep("empty", {}, [1], SCALE)


def test_an_arm_above_its_budget_is_caught():
    arms = {
        "honest": lambda seed: lambda budget: (1.0, budget),
        "greedy": lambda seed: lambda budget: (1.0, budget + 1),
    }
    with pytest.raises(ValueError, match="greedy spent 9 tokens of a budget of 8"):
        equal_budget(arms, [8], SCALE)


def test_needles_are_asked_by_length_and_depth():
    blind = {"sees 50 frames": lambda seed: lambda frames, depth: float(frames * depth < 50)}
    curves = needle_curve(blind, [40, 100], [0.0, 1.0], SCALE)
    assert [figure.mean for figure in curves["sees 50 frames"].values()] == [1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"depths lie in \[0, 1\]"):
        needle_curve(blind, [40], [1.5], SCALE)


def test_lengths_rise_and_shares_are_shares():
    with pytest.raises(ValueError, match="lengths must rise"):
        length_sweep({"a": lambda seed: lambda n: 1.0}, [4, 2], SCALE)
    with pytest.raises(ValueError, match="a share lies in"):
        recall({"a": lambda seed: lambda n: 1.5}, [4], SCALE)
    with pytest.raises(ValueError, match="needs a control"):
        ablation({"a": lambda seed: lambda n: 1.0}, SCALE)


def test_peak_bytes_are_what_was_held_at_once():
    def call():
        first = torch.zeros(1000, 250)
        second = first + 1
        del first
        return second + 1

    assert peak_bytes(call) == pytest.approx(2_000_000, rel=0.01)


def test_costs_grow_as_they_should():
    arms = {"square": lambda n: lambda: torch.zeros(n, n) + 1, "line": lambda n: lambda: torch.zeros(100 * n) + 1}
    seconds, held = cost_sweep(arms, [256, 512, 1024], SCALE)
    assert held.slope("square") == pytest.approx(2, abs=0.01)
    assert held.slope("line") == pytest.approx(1, abs=0.01)
    assert all(figure.mean > 0 for row in seconds.values() for figure in row.values())


def test_classification_trains_every_arm_on_the_same_data_and_tests_on_other():
    def points(seed, step):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        x = torch.randn(64, 2, generator=generator)
        return x, (x[:, 0] > 0).long()

    curves = classification(
        {
            "sees": lambda seed: torch.nn.Linear(2, 2),
            "blind": lambda seed: torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(1.0)),
        },
        points,
        lambda seed: points(seed, 10_000),
        SCALE,
        steps=60,
        lr=0.1,
    )
    assert curves["sees"]["accuracy"].mean > 0.95


def test_one_trained_network_is_tested_at_every_point():
    def points(seed, step, wide=1.0):
        x = wide * torch.randn(64, 2, generator=torch.Generator().manual_seed(1000 * seed + step))
        return x, (x[:, 0] > 0.5).long()

    trained = []

    def build(seed):
        trained.append(seed)
        return torch.nn.Linear(2, 2)

    tests = {wide: lambda seed, wide=wide: points(seed, 10_000, wide) for wide in (0.5, 4.0)}
    curves = classification({"line": build}, points, tests, SCALE, steps=20, lr=0.1)
    assert trained == [0, 1, 2] and list(curves["line"]) == [0.5, 4.0]
    assert curves["line"][4.0].mean != curves["line"][0.5].mean
