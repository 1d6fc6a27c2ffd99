"""What is measured is the symbol after the mark, on texts that training did not see."""

import pytest
import torch
from torch import nn

from seefar.evals.far_recall import kept, prompt, taught
from seefar.papers._card import Scale
from seefar.synthetic.remote import MARK, VOCABULARY
from seefar.training.curriculum import Curriculum


class _Remembers(nn.Module):
    """Says at every place the symbol behind the last mark, or one that is off by ``error``."""

    def __init__(self, error: int = 0) -> None:
        super().__init__()
        self.weight, self.error, self.seen = nn.Parameter(torch.ones(())), error, []

    def forward(self, ids, state=None):
        self.seen.append(tuple(ids.shape))
        known = state if state is not None else torch.zeros(len(ids), dtype=torch.int64)
        rows = []
        before = torch.zeros_like(known)
        for token in ids.unbind(1):
            known, before = torch.where(before == MARK, token, known), token
            rows.append((known + self.error) % 16)
        return self.weight * nn.functional.one_hot(torch.stack(rows, 1), VOCABULARY), known


def test_a_model_that_remembers_is_right_at_every_length_and_one_that_errs_never():
    lessons = Curriculum([(1, 8), (1, 16)])
    for error, share in ((0, 1.0), (3, 0.0)):
        model_of = taught(lambda e=error: _Remembers(e), lessons, Scale("smoke", (0,)), tokens=32)
        measure = kept(model_of, 16, tests=3)(0)
        assert model_of(0).seen == [(4, 8), (2, 16)] and model_of(0) is model_of(0)
        assert measure(16) == measure(64) == share
        with pytest.raises(ValueError, match=r"multiples of the first 16 tokens, got 24"):
            measure(24)


def test_the_last_but_one_of_other_logits_counts():
    def shorter(model, ids):
        return model(ids)[0][:, -2:]

    assert kept(lambda seed: _Remembers(), 8, tests=3, logits=shorter)(0)(32) == 1


def test_a_prompt_is_read_to_its_end_in_order():
    models = []
    out = prompt(lambda: models.append(_Remembers()) or models[-1])(2500)()
    assert out.shape == (1, 2500, VOCABULARY) and sum(n for _, n in models[0].seen) == 2500
