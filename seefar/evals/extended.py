"""Language models taught in stages of other lengths of text: what a short second stage makes of the first."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.evals.language import unit_losses
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.training.fit import cosine, fit


class Stage(NamedTuple):
    """So many steps on texts of so many units, with this highest learning rate."""

    steps: int
    length: int
    lr: float = 3e-3


class Stages:
    """A model trained stage after stage, each with a learning rate that rises and falls anew.

    ``stages(first, second)`` is the arm of a protocol: ``prepare(seed) -> measure(length)``, mean nats of a unit of
    held-out texts of that length. Arms that begin with the same stages share their training, and texts of a step are
    the same for all models.

    Args:
        build: gives ``model(ids, state) -> (logits, state)``, such as a ``SequenceModel``.
        texts: ``texts(count, length, held_out=..., seed=...)`` gives ids (B, N).
        setting: the scale.
        tokens: of all texts of a step together.
        tests: held-out texts of each length.

    Raises:
        ValueError: when called without a stage.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        texts: Callable[..., Tensor],
        setting: Setting,
        *,
        tokens: int = 2048,
        tests: int = 32,
    ) -> None:
        self.build, self.texts, self.setting = build, texts, setting
        self.tokens, self.tests = tokens, tests
        self.model = cache(self._model)

    def __call__(self, *stages: Stage) -> Arm:
        """The arm of a model that goes through these stages."""
        if not stages:
            raise ValueError("Stages: a model is trained in one stage at least, such as Stage(100, 64)")

        def prepared(seed: int) -> Measure:
            model = self.model(seed, stages)

            @torch.inference_mode()
            def loss(length: int) -> float:
                ids = self.texts(self.tests, length, held_out=True, seed=seed)
                return float(unit_losses(model(ids)[0], ids).mean())

            return loss

        return prepared

    def _model(self, seed: int, stages: tuple[Stage, ...]) -> nn.Module:
        *before, (steps, length, lr) = stages
        if before:
            model = deepcopy(self.model(seed, tuple(before)))
        else:
            torch.manual_seed(seed)
            model = self.build()
        base = 1_000_000 * (seed + 1) + 100_000 * len(before)
        count = max(1, self.tokens // length)

        def loss(net: nn.Module, ids: Tensor) -> tuple[Tensor, dict[str, float]]:
            return unit_losses(net(ids)[0], ids).mean(), {}

        fit(
            model,
            lambda step: self.texts(count, length, held_out=False, seed=base + step),
            loss,
            steps=steps,
            lr=lr,
            schedule=partial(cosine, warmup=min(100, steps // 4)),
            progress=self.setting.progress,
        )
        return model
