import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seefar.evals.extended import Stage, Stages
from seefar.papers._card import Scale


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 5)

    def forward(self, ids, state=None):
        return self.table(ids), None


def texts(count, length, *, held_out, seed):
    asked.append((count, length, held_out, seed))
    return torch.randint(5, (count, length), generator=torch.Generator().manual_seed(seed))


asked = []


def school(**options):
    asked.clear()
    return Stages(Bigram, texts, Scale("smoke", seeds=(3,)), tokens=40, tests=6, **options)


def test_stages_see_their_lengths_and_arms_share_what_they_begin_with():
    stages, first, second = school(), Stage(3, 10), Stage(2, 20)
    stages(first)(3)
    assert [row[:3] for row in asked] == [(4, 10, False)] * 3
    stages(first, second)(3)
    assert [row[:3] for row in asked[3:]] == [(2, 20, False)] * 2
    stages(first, second)(3)
    assert len(asked) == len({row[3] for row in asked}) == 5


def test_a_second_stage_leaves_the_model_of_the_first_as_it_was():
    stages, first = school(), Stage(3, 10)
    before = stages(first)(3)(12)
    after = stages(first, Stage(4, 10, 0.1))(3)(12)
    assert stages(first)(3)(12) == before != after


def test_the_measure_is_the_mean_loss_of_held_out_texts():
    stages, stage = school(), Stage(1, 10)
    value = stages(stage)(3)(12)
    assert asked[-1] == (6, 12, True, 3)
    ids = texts(6, 12, held_out=True, seed=3)
    logits = stages.model(3, (stage,)).table(ids[:, :-1]).detach()
    assert value == pytest.approx(float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())))


def test_a_model_without_a_stage_is_refused():
    with pytest.raises(ValueError, match="one stage at least"):
        school()()
