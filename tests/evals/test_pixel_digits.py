import torch
from torch import nn

from seefar.evals.pixel_digits import trained_on_digits
from seefar.papers._card import Scale

SMOKE = Scale("smoke", (0,))


class Linear(nn.Module):
    """A classifier of whole pictures, with the face of a SequenceModel."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1)), None


def test_what_can_learn_digits_is_measured_as_such_and_what_did_not_train_is_not():
    assert trained_on_digits(Linear, SMOKE, steps=120, lr=1e-2)(0)("score") > 0.8
    assert trained_on_digits(Linear, SMOKE, steps=1, lr=1e-9)(0)("score") < 0.4


def test_a_seed_decides_everything():
    one, again, other = (trained_on_digits(Linear, SMOKE, steps=3)(seed)("score") for seed in (0, 0, 1))
    assert one == again != other


def test_every_arm_sees_the_same_digits():
    class Records(Linear):
        seen = []

        def forward(self, x):
            self.seen.append(x.detach().clone())
            return super().forward(x)

    trained_on_digits(Records, SMOKE, steps=2)(3)
    trained_on_digits(Records, SMOKE, steps=2)(3)
    assert torch.equal(Records.seen[0], Records.seen[2]) and torch.equal(Records.seen[1], Records.seen[3])
    assert not torch.equal(Records.seen[0], Records.seen[1])
