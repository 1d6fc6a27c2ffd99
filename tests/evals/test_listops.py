import pytest
import torch
from torch import nn

from seefar.backbones import SequenceModel
from seefar.evals import listops as module
from seefar.evals.listops import WORDS, listops_ids, trained_on_listops
from seefar.mixers import MLP, column
from seefar.papers._card import Scale
from seefar.synthetic.listops import listops

SIZES = {"length": (4, 12), "depth": 3, "arguments": 4}


def test_ids_are_the_words_of_the_published_form():
    ids, labels = listops_ids(20, **SIZES, seed=1)
    assert ids.shape == (20, 12) and ids.dtype == torch.int64
    for row, label, (source, value) in zip(ids, labels, listops(20, **SIZES, seed=1), strict=True):
        words = [WORDS.words[i] for i in row.tolist() if i]
        assert words == [word.replace("]", "X") for word in source.split() if word not in "()"] + ["<eos>"]
        assert int(label) == value


def test_a_model_is_tested_on_lists_that_it_was_not_trained_on():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, ids):
            seen.append(ids)
            return self.weight.expand(len(ids), -1), None

    setting = Scale("smoke", seeds=(3,))
    share = trained_on_listops(Watch, setting, steps=3, batch=4, tests=6, **SIZES)(3)("score")
    assert [len(ids) for ids in seen] == [4, 4, 4, 6]
    rows = [tuple(row.tolist()) for ids in seen for row in ids]
    assert len(set(rows)) == 18 and 0 <= share <= 1


def test_the_score_is_the_share_of_values_said():
    class Says(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, ids):
            known = {tuple(row.tolist()): label for row, label in zip(*made, strict=True)}
            right = torch.stack([known[tuple(row.tolist())] for row in ids])
            right[0] = (right[0] + 1) % 10
            return nn.functional.one_hot(right, 10) + 0 * self.weight, None

    made = listops_ids(2 * 4 + 5, **SIZES, seed=3)
    setting = Scale("smoke", seeds=(3,))
    assert trained_on_listops(Says, setting, steps=2, batch=4, tests=5, **SIZES)(3)("score") == pytest.approx(0.8)


def test_a_sequence_model_learns_from_it():
    def build():
        return SequenceModel(column("F", 8, F=lambda: MLP(8)), 8, 10, words=len(WORDS.words), pool="mean")

    share = trained_on_listops(build, Scale("smoke", seeds=(3,)), steps=2, batch=4, tests=5, **SIZES)(3)("score")
    assert 0 <= share <= 1 and module.WORDS is WORDS
