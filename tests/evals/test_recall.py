"""The measures of associative recall: known answers for each."""

import pytest
import torch

from seefar.evals.protocols import recall
from seefar.evals.recall import cache_after, cost_after, decoder, memory_alone, segments_after, trained
from seefar.mixers import LayerMemory, Segments, WriteRule
from seefar.papers._card import Scale
from seefar.synthetic.recall import associative_recall, rewriting_recall
from seefar.training.curriculum import Curriculum

ONE = Scale("smoke", (0,))


def model(segment=4):
    base = decoder(16, 1)
    return Segments(base, LayerMemory(base, 2, width=8), segment=segment)


def test_a_memory_finds_one_pair_always_and_loses_many_if_its_keys_are_narrow():
    arms = {
        name: memory_alone(WriteRule(), associative_recall, key_size=2, streams=32, width=width)
        for name, width in {"wide": 64, "narrow": 4}.items()
    }
    shares = recall(arms, [1, 128], ONE)
    assert shares["wide"][1].mean == shares["narrow"][1].mean == 1
    assert shares["wide"][128].mean > 0.9 and shares["narrow"][128].mean < 0.4


def test_only_the_last_value_of_a_key_counts():
    hebbian = WriteRule(replace=False, correct=False)
    arms = {
        name: memory_alone(rule, rewriting_recall, key_size=1, streams=8)
        for name, rule in {"replaces": WriteRule(), "adds": hebbian}.items()
    }
    shares = recall(arms, [200], ONE)
    assert shares["replaces"][200].mean > 0.95 and shares["adds"][200].mean < 0.5


def test_a_model_that_is_trained_on_one_answer_gives_it():
    def one_answer(count, pairs, *, key_size, value_size=1, seed):
        task = associative_recall(count, pairs, key_size=key_size, seed=seed)
        return type(task)(task.keys, torch.full_like(task.values, 7), task.asked)

    def arm(steps):
        lessons = Curriculum([(steps, 1), (steps, 2)])
        return trained(model, one_answer, lessons, ONE, key_size=1, batch=16, tests=20, lr=0.03)

    shares = recall({"learnt": arm(25), "hardly": arm(1)}, [1, 3], ONE)
    assert shares["learnt"][1].mean == shares["learnt"][3].mean == 1
    assert shares["hardly"][3].mean < 0.5


def test_a_state_costs_the_same_after_any_past_and_a_cache_does_not():
    small = model()
    arms = {"memory": segments_after(small, at_once=2), "cache": cache_after(small.model, 4, at_once=2)}
    seconds, held = cost_after(arms, (1, 3, 40), ONE, repeats=1)
    assert set(held["memory"].values()) == {4 * (2 * 3 * 8 * 17)}
    assert held["cache"] == {age: age * 4 * 16 * 2 * 4 for age in (1, 3, 40)}
    assert all(figure.mean > 0 for row in seconds.values() for figure in row.values())


def test_the_state_of_a_past_is_that_of_its_text():
    small = model()
    prepare = segments_after(small, at_once=1)
    early, late = prepare(2)[0], prepare(7)[0]
    assert small.memory.memories[0].v_proj.weight.any()  # it would stay empty
    first = early()
    assert torch.equal(first[0], early()[0])  # a call leaves the past as it was
    assert not torch.equal(first[0], late()[0])


def test_a_cache_is_left_as_it_was():
    small = decoder(16, 1)
    prepare = cache_after(small, 4, at_once=2)
    lengths = []
    small.base_model.register_forward_hook(lambda _, args, out: lengths.append(out.past_key_values.get_seq_length()))
    call, _ = prepare(3)
    call(), call()
    assert lengths == [16, 20] * 2


def test_a_state_out_of_all_bounds_is_reported():
    small = model()
    with torch.no_grad():
        small.memory.memories[0].v_proj.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="no longer finite after 2 segments"):
        segments_after(small)(2)
