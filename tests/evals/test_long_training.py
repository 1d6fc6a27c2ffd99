"""Stages train on their lengths with their bases; packed rows are half long, half short, and weigh as they are told."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from seefar.backbones.sequence import SequenceModel
from seefar.evals import long_training as part
from seefar.mixers import Attention
from seefar.mixers.block import Block, Stack
from seefar.papers._card import Scale
from seefar.positions.rope import Rope
from seefar.synthetic.remote import ASK, VOCABULARY
from seefar.synthetic.sentences import WORDS_OF_TEXT
from seefar.training.context_schedule import ContextSchedule

SMOKE = Scale("smoke", (0,))
PASSKEY, IS, ASKS = WORDS_OF_TEXT.encode("passkey is ?")


def build(words=VOCABULARY):
    return SequenceModel(Stack([Block(8, Attention(8, 2, rope=Rope(4)))]), 8, words, words=words)


def test_every_step_has_the_length_base_and_number_of_tokens_of_its_stage():
    seen = []

    class Watched(SequenceModel):
        def forward(self, x, state=None):
            asked = int(((x[:, :-1] == PASSKEY) & (x[:, 1:] == ASKS)).sum() / len(x))
            seen.append((tuple(x.shape), asked, self.column.blocks[0].mixer.rope.base, self.training))
            return super().forward(x, state)

    def watched():
        model = build(len(WORDS_OF_TEXT))
        model.__class__ = Watched
        return model

    schedule = ContextSchedule([(16, 1e3, 2), (64, 1e5, 1)])
    found = part.staged(watched, schedule, SMOKE, tokens=128, tests=5)(0)
    assert seen == [((8, 16), 1, 1e3, True), ((8, 16), 1, 1e3, True), ((2, 64), 2, 1e5, True)]
    assert 0 <= found(32) <= 1 and seen[3:] == [((5, 32), 1, 1e5, False)]


def test_a_model_that_copies_what_it_was_told_finds_all():
    class Copies(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rope, self.weight = Rope(4), torch.nn.Parameter(torch.zeros(()))

        def forward(self, ids):
            told = (ids[:, :-1] == PASSKEY) & (ids[:, 1:] == IS)
            said = F.one_hot(ids[torch.arange(len(ids)), told.int().argmax(1) + 2], len(WORDS_OF_TEXT)).double()
            return said[:, None].expand(-1, ids.shape[1], -1) + self.weight, None

    found = part.staged(Copies, ContextSchedule([(16, 1e4, 1)]), SMOKE, tokens=16, tests=50)(0)
    assert found(16) == found(64) == 1


@pytest.mark.parametrize(("weights", "share"), [("example", 4 / 5), ("token", 4 / 35)])
def test_rows_hold_one_long_example_and_short_ones(weights, share, monkeypatch):
    rows, pack = [], part.pack
    monkeypatch.setattr(part, "pack", lambda *args, **how: rows.append(pack(*args, **how)) or rows[-1])
    right = part.packed(build, weights, SMOKE, short=8, long=32, rows=3, steps=1, tests=7)(0)
    (row,) = rows
    assert row.ids.shape == (3, 64) and (row.segments >= 0).all()
    for ids, segments, weight in zip(row.ids, row.segments, row.weights, strict=True):
        sizes = torch.bincount(segments)
        assert sizes[sizes > 0].tolist() == [32, 8, 8, 8, 8]
        short = (sizes[segments] == 8) & (weight > 0)
        assert short.sum() == 4 and (ids[:-1][short[1:]] == ASK).all()
        torch.testing.assert_close(float(weight[short].sum()), share / 3)
    assert 0 <= right("score") <= 1


def test_scores_are_those_of_each_example_alone():
    torch.manual_seed(0)
    model = build().double()
    some = [part.questions(1, 9, seed=1)[0], part.refrains(1, 20, seed=2)[0]]
    got = part.scores(model, part.pack(some, 31))
    for example, start in zip(some, (0, 9), strict=True):
        want = model(example.ids[None])[0]
        torch.testing.assert_close(got[:, start : start + len(example.ids)], want, rtol=1e-10, atol=1e-10)


def test_refrains_repeat_and_are_answers_but_for_their_first():
    for ids, answer in part.refrains(3, 50, period=7, seed=0):
        assert torch.equal(ids[7:], ids[:-7]) and len(ids[:7].unique()) > 1
        assert answer.tolist() == [False] + [True] * 49
    one = partial(part.refrains, 2, 20)
    assert torch.equal(one(seed=1)[0].ids, one(seed=1)[0].ids) and not torch.equal(
        one(seed=1)[0].ids, one(seed=2)[0].ids
    )
