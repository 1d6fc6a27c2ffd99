"""What a longer context is worth: accuracy by how much of the past a model was given, in training and in tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Setting
from seefar.synthetic.local_majority import local_majority
from seefar.synthetic.remote import remote_copy
from seefar.training.fit import fit

Task = Callable[[int, int], tuple[Tensor, Tensor]]
"""``task(count, seed)`` gives texts (count, N) and a label (count,) of each."""


def by_context(
    build: Callable[[], nn.Module],
    task: Task,
    setting: Setting,
    *,
    steps: int,
    tokens: int = 2048,
    tests: int = 300,
    lr: float = 3e-3,
) -> Arm:
    """An arm whose points are contexts: a model of its own for each, which sees so many of the last tokens of a text.

    For the first half of its training it sees half as many, from which the rest is learnt sooner.

    Args:
        build: a fresh model from texts to the scores of classes (B, V), and a state.
        task: makes the texts; those of the tests have seeds of their own.
        setting: the scale.
        steps: of training.
        tokens: of a step, in as many texts as that makes; all contexts thus cost the same.
        tests: texts held out.
        lr: the highest learning rate.
    """

    def prepared(seed: int) -> Callable[[int], float]:
        def accuracy(context: int) -> float:
            torch.manual_seed(seed)
            model, first = build(), 1_000_000 * (seed + 1)

            def batch(step: int) -> tuple[Tensor, Tensor]:
                now = context if 2 * step >= steps else -(-context // 2)
                texts, labels = task(max(1, tokens // now), first + 1 + step)
                return texts[:, -now:], labels

            def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
                return nn.functional.cross_entropy(net(data[0])[0], data[1]), {}

            fit(model, batch, loss, steps=steps, lr=lr, progress=setting.progress)
            texts, labels = task(tests, first)
            with torch.inference_mode():
                scores, _ = model(texts[:, -context:])
            return float((scores.argmax(-1) == labels).double().mean())

        return accuracy

    return prepared


def far_symbol(count: int, seed: int, *, length: int = 64) -> tuple[Tensor, Tensor]:
    """Texts of ``remote_copy`` with the mark anywhere, and the symbol that stands behind it."""
    ids, _ = remote_copy(count, 1, length + 1, seed=seed)
    return ids[:, :-1], ids[:, -1]


def last_bits(count: int, seed: int, *, length: int = 64) -> tuple[Tensor, Tensor]:
    """Bits, and which of the last five are more."""
    return local_majority(count, length, near=5, seed=seed)
