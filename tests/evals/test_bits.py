import pytest
import torch
from torch import nn

from seefar.evals.bits import bits_per_token
from seefar.papers._card import Scale


class Even(nn.Module):
    """Knows nothing but how often each token comes."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        self.first = x[:, 0]
        return self.scores.expand(*x.shape, 4), None


def test_bits_are_the_entropy_of_what_a_model_cannot_know():
    def tokens(seed, step=-1):
        generator = torch.Generator().manual_seed(1000 * seed + step + 1)
        return torch.randint(2, (64, 50), generator=generator)  # two of the four

    model = Even()
    arm = bits_per_token(lambda: model, tokens, tokens, Scale("smoke"), start=3, steps=0)
    assert arm(1)("score") == pytest.approx(2)
    assert (model.first == 3).all()
    learnt = bits_per_token(Even, tokens, tokens, Scale("smoke"), start=3, steps=300, lr=0.1)
    assert learnt(1)("score") == pytest.approx(1, abs=0.02)
