"""How far a memory over segments learns to reach, and what its gradient costs."""

import pytest
import torch

from seefar.evals.recall import decoder
from seefar.evals.remote import backward, copies, gradient_gap, training_cost
from seefar.mixers import Segments, SlotMemory
from seefar.papers._card import Scale
from seefar.synthetic.remote import ASK, MARK
from seefar.training.curriculum import Curriculum


def build(replay=False, segment=8):
    model = decoder(16, 1)
    return Segments(model, SlotMemory(model, 2), segment=segment, replay=replay)


class Oracle(Segments):
    """Finds the mark, carries the symbol behind it as its state, and says it at the end."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.segment, self.weight, self.calls = 8, torch.nn.Parameter(torch.zeros(1)), []

    def loss(self, ids, labels=None, state=None):
        self.calls.append(ids.shape[1] // self.segment)
        return self.weight.square().sum(), None

    def forward(self, ids, state=None):
        if state is None:
            state = ids[torch.arange(len(ids)), (ids == MARK).int().argmax(1) + 1]
        assert ((ids == ASK).sum(1) <= 1).all()
        return torch.nn.functional.one_hot(state, 20)[:, None].expand(-1, ids.shape[1], -1), state


def test_what_an_oracle_carries_is_found_and_what_nobody_carries_is_not():
    scale, made = Scale("smoke", (0,)), []

    def oracle():
        made.append(Oracle())
        return made[-1]

    found = copies(oracle, Curriculum([(30, 2), (30, 5)]), scale, batch=2, tests=40)(0)
    assert [found(n) for n in (1, 2, 7)] == [1, 1, 1]
    assert set(made[0].calls[:30]) == {2} and set(made[0].calls[30:]) == {2, 3, 4, 5}
    blind = copies(build, Curriculum([(1, 2)]), scale, batch=2, tests=200)(0)
    assert blind(4) < 0.2


def test_gradients_are_compared_through_the_memory():
    torch.manual_seed(0)
    assert gradient_gap(build(), build(replay=True), segments=4) < 1e-12
    cut = build()
    cut.truncate = 1
    assert gradient_gap(build(), cut, segments=4) > 0.1


def test_costs_are_of_all_segments_and_replay_holds_one():
    ways = {
        "whole": backward(build(segment=16)),
        "replay": backward(build(replay=True, segment=16)),
        "checkpoint": backward(build(segment=16), checkpointed=True),
    }
    seconds, held = training_cost(ways, [2, 12], Scale("smoke", (0,)), repeats=3)
    assert all(row[12].mean > row[2].mean > 0 for row in seconds.values())
    assert held["whole"][12].mean > 3 * held["whole"][2].mean
    assert held["replay"][12].mean < 1.3 * held["replay"][2].mean
    assert held["checkpoint"][12].mean < 0.7 * held["whole"][12].mean


def test_both_ways_of_learning_leave_no_gradient_behind():
    for checkpointed in (False, True):
        model = build()
        backward(model, checkpointed=checkpointed)(2)()
        assert all(p.grad is None for p in model.parameters())


def test_a_task_without_room_for_its_question_is_refused():
    with pytest.raises(ValueError, match="4 tokens in each"):
        copies(lambda: build(segment=3), Curriculum([(1, 2)]), Scale("smoke", (0,)), batch=2)(0)
