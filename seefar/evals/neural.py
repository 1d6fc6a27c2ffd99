"""How well predicted activity of cells meets what was recorded; the measures of the Sensorium competition.

T trials, N units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from seefar.analysis.rollout import attention_maps, centre_of_mass, rollout
from seefar.brain.cores import AttentionCore
from seefar.brain.encoder import NeuralEncoder
from seefar.brain.recording import Recording
from seefar.evals.protocols import Arm, Measure
from seefar.synthetic.visual_cortex import Trials, VisualCortex, dead_leaves
from seefar.training.encoding import fit_encoder, predict
from seefar.training.fit import Progress

EXPLAINABLE = 0.15
"""The least share of explainable variance of a unit that counts for ``feve``."""


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """(N,) Pearson's r of each column of two tables (T, N); 0 for one that doesn't vary."""
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"correlation: needs two tables (T, N), got {tuple(x.shape)} and {tuple(y.shape)}")
    x, y = (part.double() - part.double().mean(0) for part in (x, y))
    size = x.norm(dim=0) * y.norm(dim=0)
    return torch.where(size > 0, (x * y).sum(0) / size.clamp(min=1e-300), 0.0)


def correlation_to_average(responses: Tensor, rates: Tensor, stimulus: Tensor) -> Tensor:
    """(N,) r of the mean response with the mean prediction, each over the repeats of a picture.

    Args:
        responses: (T, N) as recorded.
        rates: (T, N) as predicted.
        stimulus: (T,) which picture each trial showed.
    """
    return correlation(
        *(torch.stack([part[s].mean(0) for s in _repeats(part, stimulus)]) for part in (responses, rates))
    )


def fev_feve(responses: Tensor, rates: Tensor, stimulus: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) share of the variance that is explainable, and the share of it that the prediction explains.

    fev = (total - noise) / total,    feve = 1 - (mse - noise) / (total - noise)

    total is the variance over all trials, noise the mean over pictures of the variance over its repeats, mse the mean
    squared error. Noise counts all that differs among repeats, behaviour too, so that a prediction that knows the
    behaviour may explain more than 1. Only units of fev >= ``EXPLAINABLE`` have a feve that means something; choose by
    that, never by the feve itself.

    Args:
        responses: (T, N) as recorded.
        rates: (T, N) as predicted.
        stimulus: (T,) which picture each trial showed; two trials or more of each.

    Raises:
        ValueError: a picture that was shown once has no noise to be measured.

    Reference: Cadena et al., PLoS Comput Biol 2019; formula of the Sensorium code, Willeke et al., arXiv 2206.08666.
    """
    groups = _repeats(responses, stimulus)
    once = sum(len(group) < 2 for group in groups)
    if once:
        raise ValueError(f"fev_feve: {once} of {len(groups)} pictures were shown once; noise needs two trials or more")
    responses, rates = responses.double(), rates.double()
    total = responses.var(0)
    noise = torch.stack([responses[group].var(0) for group in groups]).mean(0)
    error = (responses - rates).square().mean(0)
    return (total - noise) / total, 1 - (error - noise) / (total - noise)


def encoding_scores(encoder: NeuralEncoder, tests: dict[str, Recording]) -> dict[str, float]:
    """Means over the units of every animal, then over animals: ``to average``, ``single trial`` and ``feve``."""
    rows = []
    for animal, test in tests.items():
        rates = predict(encoder, animal, test)
        fev, feve = fev_feve(test.responses, rates, test.stimulus)
        averaged = correlation_to_average(test.responses, rates, test.stimulus)
        rows.append((averaged.mean(), correlation(test.responses, rates).mean(), feve[fev >= EXPLAINABLE].mean()))
    means = torch.tensor(rows).mean(0).tolist()
    return dict(zip(("to average", "single trial", "feve"), means, strict=True))


@torch.no_grad()
def follows_the_eye(encoder: NeuralEncoder, animal: str, recording: Recording) -> Tensor:
    """(2,) r of the centre of the class token's attention rollout with the pupil's, x and y, over the trials.

    Reference: Li et al., V1T, arXiv 2302.03023.
    """
    core = encoder.core
    if not isinstance(core, AttentionCore):
        raise ValueError(f"follows_the_eye: needs an AttentionCore, got a {type(core).__name__}")
    if recording.pupil is None:
        raise ValueError(f"follows_the_eye: nobody measured the pupil of {animal}")
    centres = []
    for some in torch.arange(len(recording)).split(64):
        part = recording.take(some).to(encoder.device)
        weights = attention_maps(core, partial(encoder.features, part.pictures, part.behaviour, part.pupil))
        centres.append(centre_of_mass(rollout(weights)[:, 0, 1:].unflatten(1, core.place.grid)))
    return correlation(torch.cat(centres).cpu(), recording.pupil)


class Animals(NamedTuple):
    """Simulated animals by name.

    Fields:
        cells: of each. train: what to learn from. test: what to be tested on, while eye and body move. still: the same
        test while they rest. truth: what was recorded in ``test``, with the true rates and how far fields moved.
    """

    cells: dict[str, VisualCortex]
    train: dict[str, Recording]
    test: dict[str, Recording]
    still: dict[str, Recording]
    truth: dict[str, Trials]


def simulated_animals(
    seed: int, *, count: int, units: int, size: tuple[int, int], pictures: int, tests: int, repeats: int
) -> Animals:
    """Animals with cells of their own: each is shown pictures of its own once, and test pictures, the same for all.

    Args:
        seed: decides everything.
        count: animals.
        units: cells of each.
        size: (H, W) of a picture.
        pictures: to learn from, for each animal.
        tests: pictures of the test.
        repeats: of each of these.
    """
    first = 10_000 * seed
    names = [f"animal {number}" for number in range(count)]
    cells = {name: VisualCortex(units, size, seed=first + 2 * i) for i, name in enumerate(names)}
    own = [dead_leaves(pictures, *size, seed=first + 100 + i) for i in range(count)]
    shared = dead_leaves(tests, *size, seed=first + 99)
    shown = dict(zip(names, own, strict=True))

    def record(pictures: dict[str, Tensor], repeats: int, offset: int, moves: bool = True) -> dict[str, Trials]:
        return {
            name: cells[name].record(pictures[name], repeats=repeats, seed=first + offset + i, moves=moves)
            for i, name in enumerate(names)
        }

    train = record(shown, 1, 200)
    test, still = (record(dict.fromkeys(names, shared), repeats, *how) for how in ((300, True), (400, False)))

    def recorded(side: dict[str, Trials]) -> dict[str, Recording]:
        return {name: Recording(*trials[:5]) for name, trials in side.items()}

    return Animals(cells, recorded(train), recorded(test), recorded(still), test)


def encoding_arm(
    make: Callable[[dict[str, Tensor]], NeuralEncoder],
    animals: Callable[[int], Animals],
    *,
    steps: int,
    batch: int,
    lr: float,
    l1_core: float,
    progress: Progress | None = None,
) -> Arm:
    """An encoder trained on simulated animals; its points are the names of what it is asked for, all of them means.

    ``to average`` and ``single trial`` of `encoding_scores`; ``feve`` of it, while the animals rest; ``centres``: r of
    the readouts' places with the planted fields, x and y, and ``centres untrained``, the same before training;
    ``shift``: r of how far readouts moved with how far fields did, 0 without a shifter; ``eye`` of `follows_the_eye`,
    0 without attention; ``core``: parameters; ``ceiling``: what the true rates reach in place of ``to average``.

    Args:
        make: the encoder for these cells, by the animals' places in the cortex.
        animals: by seed.
        steps: of training, as the rest of what is given to `fit_encoder`.
        batch: trials of each animal in a step.
        lr: the highest learning rate.
        l1_core: weight of the core's absolute parameters.
        progress: told how far training is.
    """

    def prepare(seed: int) -> Measure:
        world = animals(seed)
        torch.manual_seed(seed)
        encoder = make({name: cells.xy for name, cells in world.cells.items()})
        encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        found = {"centres untrained": _centres(encoder, world)}
        fit_encoder(
            encoder, world.train, steps=steps, seed=seed, batch=batch, lr=lr, l1_core=l1_core, progress=progress
        )
        found |= encoding_scores(encoder, world.test) | {"feve": encoding_scores(encoder, world.still)["feve"]}
        found |= {"centres": _centres(encoder, world), "shift": 0.0, "eye": 0.0}
        found["core"] = float(sum(parameter.numel() for parameter in encoder.core.parameters()))
        best = [correlation_to_average(one.responses, one.rates, one.stimulus).mean() for one in world.truth.values()]
        found["ceiling"] = float(torch.stack(best).mean())
        if encoder.shifters:
            moved = {name: encoder.shift(name, test.to(encoder.device).pupil) for name, test in world.test.items()}
            rows = [
                correlation(by.detach().cpu(), world.truth[name].shift) for name, by in moved.items() if by is not None
            ]
            found["shift"] = float(torch.stack(rows).mean())
        if isinstance(encoder.core, AttentionCore):
            looks = [follows_the_eye(encoder, name, test) for name, test in world.test.items()]
            found["eye"] = float(torch.stack(looks).mean())
        return found.__getitem__

    return prepare


def _centres(encoder: NeuralEncoder, world: Animals) -> float:
    found = {name: encoder.readout(name).centres.detach().cpu() for name in world.cells}
    return float(torch.stack([correlation(found[name], one.centres) for name, one in world.cells.items()]).mean())


def _repeats(table: Tensor, stimulus: Tensor) -> list[Tensor]:
    """The trials of each picture."""
    if stimulus.shape != table.shape[:1]:
        raise ValueError(f"repeats: stimulus must be ({len(table)},), one for each trial, got {tuple(stimulus.shape)}")
    return [(stimulus == number).nonzero()[:, 0] for number in stimulus.unique()]
