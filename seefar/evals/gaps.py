"""How far back a recurrent network reaches: by its gradient, and by what it learns.

B sequences, N tokens, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting
from seefar.mixers.base import Mixer
from seefar.training.fit import fit


def gradient_by_lag(mixer: Mixer, x: Tensor, *, probes: int = 8, seed: int = 0) -> Tensor:
    """(N,) how much the last output feels each token: the norm of its gradient by the token 0, 1, 2, ... before it.

    The norm over B and D, of the gradients of ``probes`` random readings of the last output.

    Args:
        mixer: causal.
        x: (B, N, D).
        probes: readings that are averaged, as squares.
        seed: of the readings.
    """
    x = x.detach().requires_grad_()
    last = mixer(x)[0][:, -1]
    readings = torch.randn(probes, *last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
    squares = [torch.autograd.grad(last, x, reading, retain_graph=True)[0].square().sum((0, 2)) for reading in readings]
    return torch.stack(squares).mean(0).sqrt().flip(0)


def slope(values: Tensor) -> float:
    """Of the logarithms of positive values over their index, by least squares."""
    if len(values) < 2 or not bool((values > 0).all()):
        raise ValueError(f"slope: needs two values or more, all above 0, got {values.tolist()[:5]}")
    logs = values.double().log()
    place = torch.arange(len(logs), dtype=torch.float64)
    place -= place.mean()
    return float((place * logs).sum() / place.square().sum())


def spectral_fade(mixer: nn.Module, x: Tensor) -> float:
    """Theory for an Elman cell: the logarithm by which its gradient changes with each token it is taken back.

    log(spectral radius of U) + the mean over tokens of log rms(1 - h^2), where 1 - h^2 is the slope of tanh at each
    unit.
    """
    over = mixer.get_parameter("weight_hh_l0").detach().double()
    with torch.no_grad():
        bend_BND = 1 - mixer(x)[0].double().square()
    radius = torch.linalg.eigvals(over).abs().max()
    return math.log(float(radius)) + float(bend_BND.square().mean((0, 2)).sqrt().log().mean())


Task = Callable[..., tuple[Tensor, Tensor]]


def learns(
    build: Callable[[int], nn.Module],
    task: Task,
    score: Callable[[Tensor, Tensor], float],
    setting: Setting,
    *,
    steps: int,
    batch: int = 32,
    tests: int = 1000,
    lr: float = 1e-2,
) -> Arm:
    """A network trained anew at each length and scored there on sequences that training did not see.

    Args:
        build: length -> a network from inputs to outputs, or to (outputs, state).
        task: ``task(count, length, seed=...)`` gives inputs and wanted outputs; the loss is cross-entropy if these are
            int64 labels (B,) or (B, N), mean squared error otherwise.
        score: (outputs, wanted) -> the figure.
        setting: the scale.
        steps: of training.
        batch: sequences of a step.
        tests: sequences held out.
        lr: the highest learning rate.
    """

    def prepared(seed: int) -> Measure:
        def measure(length: int) -> float:
            torch.manual_seed(seed)
            model = build(length)
            base = 1_000_000 * (seed + 1)
            fit(
                model,
                lambda step: task(batch, length, seed=base + 1 + step),
                lambda net, data: (_loss(_outputs(net(data[0])), data[1]), {}),
                steps=steps,
                lr=lr,
                progress=setting.progress,
            )
            inputs, wanted = task(tests, length, seed=base)
            with torch.inference_mode():
                return score(_outputs(model(inputs)), wanted)

        return measure

    return prepared


def squared_error(outputs: Tensor, wanted: Tensor) -> float:
    """The mean squared error."""
    return float(F.mse_loss(outputs, wanted))


def accuracy(outputs: Tensor, wanted: Tensor) -> float:
    """Share of labels that the highest score names; -100 does not count."""
    return float((outputs.argmax(-1) == wanted)[wanted != -100].float().mean())


def _loss(outputs: Tensor, wanted: Tensor) -> Tensor:
    if wanted.is_floating_point():
        return F.mse_loss(outputs, wanted)
    return F.cross_entropy(outputs.flatten(0, -2), wanted.flatten())


def _outputs(result: Any) -> Tensor:
    out: Tensor = result[0] if isinstance(result, tuple) else result
    return out
