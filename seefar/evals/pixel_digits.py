"""Handwritten digits read pixel by pixel: the accuracy of a sequence model after a short training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.digit_pixels import digit_pixels
from seefar.training.fit import fit


def trained_on_digits(
    build: Callable[[], nn.Module],
    setting: Setting,
    *,
    steps: int,
    side: int = 8,
    batch: int = 32,
    lr: float = 1e-2,
    tests: int = 360,
) -> Arm:
    """Share of held-out digits that a model names; every arm of a seed sees the same digits in the same order.

    Args:
        build: makes a ``SequenceModel`` of one channel that pools to ten classes.
        setting: the scale.
        steps: of training.
        side: of the pictures; a sequence has side^2 tokens.
        batch: digits of a step.
        lr: the highest learning rate.
        tests: held-out digits, 360 at most.
    """

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()
        pixels, labels = digit_pixels("train", side=side)

        def chosen(step: int) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(100_000 * (seed + 1) + step)
            rows = torch.randint(len(pixels), (batch,), generator=generator)
            return pixels[rows], labels[rows]

        def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            return nn.functional.cross_entropy(net(data[0])[0], data[1]), {}

        fit(model, chosen, loss, steps=steps, lr=lr, progress=setting.progress)

        @torch.inference_mode()
        def accuracy(_: object) -> float:
            held, wanted = (part[:tests] for part in digit_pixels("held-out", side=side))
            return float((model(held)[0].argmax(-1) == wanted).double().mean())

        return accuracy

    return prepare
