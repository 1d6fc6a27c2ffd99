"""Stages follow each other with lengths and bases; a new base changes positions alone, and little of what is near."""

from functools import partial

import pytest
import torch

from seefar.backbones.sequence import SequenceModel
from seefar.mixers.pattern import column
from seefar.mixers.softmax import Attention
from seefar.positions.rope import Rope
from seefar.training.context_schedule import ContextSchedule, rebase
from seefar.training.fit import fit


def model(base=1e4, words=12):
    torch.manual_seed(0)
    layers = column("(A F)*2", 16, A=partial(Attention, 16, 2, rope=Rope(8, base)))
    return SequenceModel(layers, 16, words, words=words)


def test_each_step_has_the_length_and_base_of_its_stage():
    schedule = ContextSchedule([(8, 1e4, 2), (8, 1e5, 1), (64, 1e6, 3)])
    assert [schedule(step).length for step in range(8)] == [8, 8, 8, 64, 64, 64, 64, 64]
    net, seen = model(), []
    for step in range(schedule.steps):
        schedule.prepare(net, step)
        seen.append({block.mixer.rope.base for block in net.column.blocks if isinstance(block.mixer, Attention)})
    assert seen == [{1e4}, {1e4}, {1e5}, {1e6}, {1e6}, {1e6}]


def test_a_new_base_is_the_same_model_built_with_it_and_keeps_every_weight():
    net, ids = model(), torch.randint(12, (2, 30))
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    rebase(net, 5e6)
    torch.testing.assert_close(net(ids)[0], model(5e6)(ids)[0])
    assert not torch.allclose(net(ids)[0], model()(ids)[0])
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert repr(net.column.blocks[0].mixer.rope) == "Rope(8, base=5000000.0)"


def test_the_loss_on_short_texts_stays_within_a_twentieth_when_a_stage_begins():
    net = model(1e6)

    def texts(step):
        draw = torch.Generator().manual_seed(step)
        ids = torch.randint(12, (16, 8), generator=draw)
        again = torch.where(torch.rand(16, 8, generator=draw) < 0.7, ids, torch.randint(12, (16, 8), generator=draw))
        return torch.cat([ids, again], 1)  # what follows can be read off from eight tokens before, mostly

    def loss(net, ids):
        logits = net(ids)[0][:, 7:-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 8:].flatten()), {}

    fit(net, texts, loss, steps=150, lr=2e-2)
    ids = torch.cat([texts(10**6 + i) for i in range(20)])
    with torch.no_grad():
        before = loss(net, ids)[0]
        rebase(net, 1e7)
        after = loss(net, ids)[0]
    assert before < 1.9, before  # 2.48 without looking back
    assert (after - before).abs() <= 0.05 * before, (before, after)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([(8, 1e4, 2), (16, 1e3, 2)], r"must not fall, got \(8, 10000\.0, 2\) and then \(16, 1000\.0, 2\)"),
        ([(16, 1e4, 2), (8, 1e4, 2)], "must not fall"),
        ([(8, 0, 2)], "lengths and bases are positive"),
        ([(8, 1e4, 0)], "at least one step each"),
        ([], "needs lessons"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        ContextSchedule(stages)


def test_a_model_without_rotary_positions_is_refused():
    with pytest.raises(ValueError, match="no part of Linear has a Rope"):
        ContextSchedule([(8, 1e4, 1)]).prepare(torch.nn.Linear(1, 1), 0)
