"""How much descriptions make up, and the experiment that rules of decoding share: one trained captioner, many rules.

B pictures, K kinds of things.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from seefar.evals.protocols import Arm, Curves, Setting, sweep
from seefar.synthetic.scenes import PairedScenes
from seefar.training.captions import train_captioner
from seefar.vlm.captioner import Rule, describe

FIGURES = ("chair_i", "chair_s", "recall", "f1")


@dataclass(frozen=True)
class Chair:
    """What descriptions say against what is there, counted over all pictures; all are shares.

    Args:
        chair_i: of the things that are mentioned, those that are not there.
        chair_s: of the descriptions, those that mention a thing that is not there.
        recall: of the things that are there, those that are mentioned.
        f1: harmonic mean of 1 - chair_i and recall.
    """

    chair_i: float
    chair_s: float
    recall: float
    f1: float


def chair(said: Tensor, there: Tensor) -> Chair:
    """Score which things (B, K) are mentioned and which are there; a thing mentioned twice counts once.

    Nothing mentioned is nothing made up: CHAIR is then 0, and so are recall and F1.

    Raises:
        ValueError: the two are no Boolean tables of one shape, or no picture holds a thing.

    Reference: Rohrbach et al., CHAIR, arXiv 1809.02156. Differs: things are numbers, so there are no synonyms.
    """
    if said.shape != there.shape or said.ndim != 2 or {said.dtype, there.dtype} != {torch.bool}:
        raise ValueError(
            f"chair: two Boolean tables (pictures, things) are compared, got {tuple(said.shape)} {said.dtype} and "
            f"{tuple(there.shape)} {there.dtype}"
        )
    if not there.any():
        raise ValueError("chair: no picture holds anything, so nothing can be recalled")
    mentioned, real, hits = int(said.sum()), int(there.sum()), int((said & there).sum())
    return Chair(
        chair_i=(mentioned - hits) / max(1, mentioned),
        chair_s=float((said & ~there).any(1).float().mean()),
        recall=hits / real,
        f1=2 * hits / (mentioned + real),
    )


@dataclass(frozen=True)
class Decoding:
    """How an arm chooses its words.

    Args:
        rule: makes a logits processor; None for the model alone.
        sample: draw each word instead of taking the likeliest.
    """

    rule: Rule | None = None
    sample: bool = False


def decoded_captions(
    arms: Mapping[str, Decoding],
    worlds: Mapping[Any, PairedScenes],
    setting: Setting,
    *,
    steps: int,
    pictures: int,
    cooccur: float = 0.3,
    name: str = "captions",
) -> dict[str, Curves]:
    """Every figure of ``Chair``, by arm and world; one captioner a world and seed serves all arms.

    Args:
        arms: ways of decoding.
        worlds: what a captioner is trained on, by the point that stands for it.
        setting: the scale.
        steps: of training.
        pictures: that are described, the same for all arms; none was trained on.
        cooccur: how often companions are there in those pictures, whatever it was in training.
        name: of the experiment.
    """
    trained = cache(lambda seed, point: train_captioner(worlds[point], steps=steps, seed=seed))

    def arm(decoding: Decoding) -> Arm:
        @cache
        def scored(seed: int, point: Hashable) -> Chair:
            world = replace(worlds[point], cooccur=cooccur)
            shown = world.draw(pictures, [seed, steps])  # training drew 0 ... steps - 1
            longest = shown.cells.shape[1] + 1
            model, rule = trained(seed, point), decoding.rule
            words = describe(model, shown.pixels, longest=longest, rule=rule, sample=decoding.sample, seed=seed)
            return chair(world.said(words), shown.cells >= 0)

        return lambda seed: lambda point: getattr(scored(seed, point[0]), point[1])

    points = [(point, figure) for point in worlds for figure in FIGURES]
    curves = sweep(name, {label: arm(decoding) for label, decoding in arms.items()}, points, setting)
    return {
        figure: Curves({label: {point: row[point, figure] for point in worlds} for label, row in curves.items()})
        for figure in FIGURES
    }
