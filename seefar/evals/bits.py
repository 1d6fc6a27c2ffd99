"""How many bits a model of sequences needs for each of their tokens, after training on others."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting
from seefar.training.fit import fit


def bits_per_token(
    build: Callable[[], nn.Module],
    train: Callable[[int, int], Tensor],
    test: Callable[[int], Tensor],
    setting: Setting,
    *,
    start: int,
    steps: int,
    lr: float = 1e-3,
) -> Arm:
    """An arm that trains a model to tell the next token, and measures its bits on sequences that it did not see.

    Args:
        build: a fresh model; ``model(x)`` gives the scores and a state, as ``SequenceModel`` does.
        train: ``train(seed, step)`` gives (B, N) int64 sequences.
        test: ``test(seed)`` gives those that are held out.
        setting: the scale.
        start: the token that stands before the first.
        steps: of training.
        lr: the highest learning rate.
    """

    def bits(model: nn.Module, tokens: Tensor) -> tuple[Tensor, dict[str, float]]:
        scores, _ = model(F.pad(tokens[:, :-1], (1, 0), value=start))
        return F.cross_entropy(scores.flatten(0, 1), tokens.flatten()) / math.log(2), {}

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()
        fit(model, lambda step: train(seed, step), bits, steps=steps, lr=lr, progress=setting.progress)
        return lambda _: float(torch.inference_mode()(bits)(model, test(seed))[0])

    return prepare
