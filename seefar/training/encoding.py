"""Training a model of cells on recordings of several animals at once.

B trials of an animal in a batch, T trials it has, N units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from seefar.brain.encoder import NeuralEncoder
from seefar.brain.recording import Recording
from seefar.training.fit import Progress, fit

EPS = torch.finfo(torch.float32).eps


def poisson(rates: Tensor, responses: Tensor) -> Tensor:
    """Sum over trials and units of ``rate - response log rate``: the negative log likelihood of Poisson counts, but for
    a constant."""
    return (rates + EPS - (responses + EPS) * (rates + EPS).log()).sum()


def fit_encoder(
    encoder: NeuralEncoder,
    recordings: Mapping[str, Recording],
    *,
    steps: int,
    seed: int,
    batch: int = 16,
    lr: float = 0.001647,
    l1_core: float = 0.5379,
    l1_readout: float = 0.0076,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train the core on all animals and each readout on its own; every step holds ``batch`` trials of each animal.

    loss = sum over animals of  sqrt(T / B) poisson(rates, responses) + l1_core |core|_1 + l1_readout |weights|_1

    Args:
        encoder: trained in place, left in eval mode.
        recordings: by animal; those of the encoder.
        steps: of the optimiser.
        seed: decides which trials come when.
        batch: B, at most the trials of any animal.
        lr: the highest learning rate.
        l1_core: weight of the sum of the core's absolute parameters.
        l1_readout: weight of that of a readout's feature weights.
        progress: as for ``fit``.

    Raises:
        ValueError: an animal without recording or the other way round; a batch larger than a recording.

    Reference: Li et al., V1T, arXiv 2302.03023; the defaults are its code's, for 7 animals of some 8000 cells.
    Differs: half a cosine in place of early stopping, betas .9 and .98 in place of .9 and .9999.
    """
    if set(recordings) != set(encoder.readouts):
        raise ValueError(f"fit_encoder: has readouts for {list(encoder.readouts)}, got recordings {list(recordings)}")
    short = {name: len(recording) for name, recording in recordings.items() if len(recording) < batch}
    if short:
        raise ValueError(f"fit_encoder: a batch of {batch} needs as many trials, got {short}")

    def draw(step: int) -> dict[str, Recording]:
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        return {
            name: recording.take(torch.randperm(len(recording), generator=generator)[:batch]).to(encoder.device)
            for name, recording in recordings.items()
        }

    def loss(_: object, data: dict[str, Recording]) -> tuple[Tensor, dict[str, float]]:
        value = len(data) * l1_core * _l1(list(encoder.core.parameters()))
        pictures = torch.cat([trials.pictures for trials in data.values()])
        features = encoder.features(pictures, _joined(data, "behaviour"), _joined(data, "pupil"))
        for (name, trials), seen in zip(data.items(), features.split(batch), strict=True):
            likelihood = poisson(encoder.read(name, seen, trials.pupil), trials.responses)
            value = value + math.sqrt(len(recordings[name]) / batch) * likelihood
            value = value + l1_readout * _l1([encoder.readout(name).weight])
        return value, {}

    return fit(encoder, draw, loss, steps=steps, lr=lr, weight_decay=0.0, clip=math.inf, progress=progress)


@torch.no_grad()
def predict(encoder: NeuralEncoder, animal: str, recording: Recording, *, batch: int = 128) -> Tensor:
    """Rates (T, N) of every trial of a recording."""
    numbers = torch.arange(len(recording)).split(batch)
    parts = [recording.take(some).to(encoder.device) for some in numbers]
    return torch.cat([encoder(animal, part.pictures, part.behaviour, part.pupil).cpu() for part in parts])


def _joined(data: dict[str, Recording], name: str) -> Tensor | None:
    parts = [getattr(recording, name) for recording in data.values()]
    missing = [animal for animal, part in zip(data, parts, strict=True) if part is None]
    if len(missing) not in (0, len(parts)):
        raise ValueError(f"fit_encoder: {', '.join(missing)} has no {name} and others have; leave one or the other out")
    return None if missing else torch.cat(parts)


def _l1(parameters: list[Tensor]) -> Tensor:
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()
