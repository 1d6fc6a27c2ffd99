"""The gap between training and test of a selective state space, by the length of sequences and where it starts.

B sequences, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.analysis.selective_bound import generalization_bound
from seefar.evals.protocols import Arm, Measure
from seefar.mixers.plain_selective import PlainSelective
from seefar.synthetic.majority import majority
from seefar.training.fit import fit

What = Literal["gap", "accuracy", "abscissa", "loss gap", "bound"]


class Outcome(NamedTuple):
    """Of a training; one that broke is at chance, with no gap, where it started."""

    train: float
    test: float
    train_loss: float
    test_loss: float
    abscissa: float
    bound: float


class LastToken(nn.Module):
    """One number for a sequence: a linear map of what the mixer gives at the last token."""

    def __init__(self, mixer: PlainSelective, dim: int) -> None:
        super().__init__()
        self.mixer, self.head = mixer, nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,) of x (B, N, D)."""
        y, _ = self.mixer(x)
        return self.head(y[:, -1])[:, 0]


Make = Callable[[float], PlainSelective]
"""``make(abscissa)``: a mixer of two channels whose s_A starts there."""


def fresh(make: Make, abscissa: float, *, learn_A: bool = True, seed: int) -> LastToken:
    """A classifier of bits that starts at this s_A; without ``learn_A`` it stays there."""
    torch.manual_seed(seed)
    mixer = make(abscissa)
    mixer.A.requires_grad_(learn_A)
    return LastToken(mixer, 2)


@cache
def trained(
    make: Make,
    abscissa: float,
    length: int,
    seed: int,
    *,
    learn_A: bool,
    examples: int,
    tests: int,
    steps: int,
    lr: float = 0.02,
) -> Outcome:
    """A classifier trained on the majority of ``examples`` sequences, with the logistic loss."""
    model = fresh(make, abscissa, learn_A=learn_A, seed=seed)
    x, y = majority(examples, length, seed=2 * seed + 1)
    new, answers = majority(tests, length, seed=2 * seed + 2)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(examples, (32,), generator=torch.Generator().manual_seed(step))
        return x[rows], y[rows].float()

    def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return F.binary_cross_entropy_with_logits(net(data[0]), data[1]), {}

    try:
        fit(model, batch, loss, steps=steps, lr=lr, weight_decay=0.0)
    except FloatingPointError:
        return Outcome(0.5, 0.5, 0.0, 0.0, abscissa, 0.0)
    with torch.no_grad():
        (right, first), (right_new, second) = (_scored(model(a), b) for a, b in ((x, y), (new, answers)))
    bound = generalization_bound(model.mixer, model.head, examples=examples, length=length)
    return Outcome(right, right_new, first, second, model.mixer.abscissa, min(bound.gap, 1e30))


def on_majority(
    make: Make, abscissa: float, what: What, *, learn_A: bool, examples: int, tests: int, steps: int
) -> Arm:
    """A figure of training at each length.

    Args:
        make: the mixer.
        abscissa: s_A to start at.
        what: ``gap`` in accuracy, training less test; ``accuracy`` on test; ``abscissa`` after training; ``loss gap``,
            test less training; ``bound`` on that one.
        learn_A: whether s_A may move.
        examples: to train on.
        tests: held out.
        steps: of training.
    """

    def prepared(seed: int) -> Measure:
        def measure(length: int) -> float:
            done = trained(make, abscissa, length, seed, learn_A=learn_A, examples=examples, tests=tests, steps=steps)
            return {
                "gap": done.train - done.test,
                "accuracy": done.test,
                "abscissa": done.abscissa,
                "loss gap": done.test_loss - done.train_loss,
                "bound": done.bound,
            }[what]

        return measure

    return prepared


def bound_of_fresh(make: Make, abscissa: float, *, examples: int = 1000) -> Arm:
    """The bound of a classifier as it is drawn, by length."""

    def prepared(seed: int) -> Measure:
        model = fresh(make, abscissa, seed=seed)
        return lambda length: generalization_bound(model.mixer, model.head, examples=examples, length=length).gap

    return prepared


def _scored(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of right answers, and the loss; an output that is no number is wrong."""
    loss = F.binary_cross_entropy_with_logits(logits.nan_to_num(), labels.float())
    return float(((logits > 0) == (labels > 0))[logits.isfinite()].sum() / len(labels)), float(loss)
