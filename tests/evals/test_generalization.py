"""Trainings on majority: figures of one training, starts that are kept, and trainings that break."""

import torch

from seefar.evals.generalization import bound_of_fresh, fresh, on_majority, trained
from seefar.mixers.plain_selective import PlainSelective

SIZES = {"examples": 60, "tests": 40}


def make(abscissa):
    return PlainSelective(2, states=4, abscissa=abscissa, step=0.7)


def test_all_figures_are_of_one_training_and_a_held_start_stays():
    before = trained.cache_info().misses
    figures = {
        what: on_majority(make, -0.5, what, learn_A=False, steps=3, **SIZES)(0)(9)
        for what in ("gap", "accuracy", "abscissa", "loss gap", "bound")
    }
    done = trained(make, -0.5, 9, 0, learn_A=False, **SIZES, steps=3)
    assert trained.cache_info().misses == before + 1
    assert figures["abscissa"] == -0.5 and figures["accuracy"] == done.test
    assert figures["gap"] == done.train - done.test and figures["loss gap"] == done.test_loss - done.train_loss
    assert figures["bound"] >= figures["loss gap"]
    assert trained(make, -0.5, 9, 0, learn_A=True, steps=3, **SIZES).abscissa != -0.5


def test_a_state_that_adds_up_learns_to_count():
    assert trained(make, 0.0, 15, 0, learn_A=True, steps=60, examples=300, tests=200).test > 0.8


def test_a_training_that_breaks_is_at_chance_where_it_started():
    assert trained(make, 3.0, 101, 0, learn_A=True, steps=2, **SIZES) == (0.5, 0.5, 0.0, 0.0, 3.0, 0.0)


def test_starts_differ_by_seed_and_bounds_are_of_the_start():
    one, same, other = (fresh(make, 0.0, seed=seed).mixer.B for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert bound_of_fresh(make, 0.0)(0)(200) > 1.5 * bound_of_fresh(make, 0.0)(0)(100)
