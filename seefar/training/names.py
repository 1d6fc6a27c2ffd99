"""Naming what stands at each patch: the targets of ``FrameText.names``, and frames altered so that names come apart.

A network that never saw a white star can take its whiteness or its points for something else, because every white thing
it knows has another outline. Frames whose colours were mixed teach outlines alone, frames turned about a shape teach
colours alone; what an alteration makes unsure has no target.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seefar.synthetic.shapes import SHAPES
from seefar.training.worlds import COLOUR_LIST, Look, Scene
from seefar.vlm.tiny import NAMES

UNSURE = -100
"""Class number of a patch that teaches nothing; cross entropy leaves it out."""
COLOUR, SHAPE, NUMBER, SQUASHED = range(4)
ASPECT = 16 / 9


def name_targets(scene: Scene, grid: tuple[int, int]) -> Tensor:
    """(4, h * w) class numbers of colour, shape, number and squashed at each patch of a frame.

    A patch whose middle lies on a shape, or which holds its centre, bears its names; one well clear of every shape
    bears "none"; between the two it is unsure. The number of a squashed shape is unsure.
    """
    h, w = grid
    y = (torch.arange(h)[:, None] + 0.5).expand(h, w).flatten() / h
    x = (torch.arange(w) + 0.5).expand(h, w).flatten() / w * ASPECT
    targets = torch.tensor([size - 1 if size > 2 else 0 for size in NAMES.values()])[:, None].repeat(1, h * w)
    far = torch.full((h * w,), torch.inf)
    for thing in scene.things:
        off = torch.hypot(y - thing.centre[0], x - thing.centre[1] * ASPECT) - thing.radius
        far = torch.minimum(far, off)
        on = off < 0.05
        on[int(min(max(thing.centre[0] * h, 0), h - 1)) * w + int(min(max(thing.centre[1] * w, 0), w - 1))] = True
        number = NAMES["number"] - 1 if thing.number is None else thing.number
        names = [COLOUR_LIST.index(thing.colour), SHAPES.index(thing.shape), number, int(thing.squashed)]
        targets[:, on] = torch.tensor(names)[:, None]
        if thing.squashed:
            targets[NUMBER, on] = UNSURE
        far[on] = -torch.inf
    targets[:, (far > -torch.inf) & (far < 0.25)] = UNSURE
    return targets


def names_loss(logits_PN: Tensor, targets_4P: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy of every group of names, a patch that holds nothing counting a fifth; and the shares right."""
    total, figures = logits_PN.new_zeros(()), {}
    for (group, size), given, truth in zip(
        NAMES.items(), logits_PN.split(list(NAMES.values()), -1), targets_4P, strict=True
    ):
        sure = truth != UNSURE
        held = sure & (targets_4P[SHAPE] != NAMES["shape"] - 1)
        each = F.cross_entropy(given[sure], truth[sure], reduction="none")
        weight = torch.where(held[sure], 1.0, 0.2)
        total = total + (each * weight).sum() / weight.sum().clamp(min=1)
        if size > 2:
            figures[group] = float((given.argmax(-1) == truth)[held].float().mean())
    return total, figures


def mix_colours(frame: Tensor, rng: np.random.Generator) -> Tensor:
    """A (3, H, W) uint8 frame whose channels are random mixtures of the old: outlines stay, colours mean nothing."""
    mixture = rng.dirichlet([0.4] * 3, size=3) * rng.uniform(0.7, 1.3, (3, 1))
    mixed = torch.einsum("cd,dhw->chw", torch.from_numpy(mixture).float(), frame.float())
    return mixed.clamp(0, 255).to(torch.uint8)


def turn(frame: Tensor, centre: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """A (3, H, W) uint8 frame turned at random about ``centre`` (y, x in [0, 1]): colours stay, outlines do not."""
    angle = float(rng.uniform(0, 2 * np.pi))
    H, W = frame.shape[1:]
    y, x = (2 * centre[0] - 1) * H / W, 2 * centre[1] - 1  # in units of half the width
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    theta = torch.tensor(
        [[cos, -sin * H / W, x - cos * x + sin * y], [sin * W / H, cos, (y - sin * x - cos * y) * W / H]]
    )
    spots = F.affine_grid(theta[None], [1, *frame.shape], align_corners=False)
    turned = F.grid_sample(frame[None].float(), spots, padding_mode="border", align_corners=False)
    return turned[0].round().to(torch.uint8)


def altered(
    frame: Tensor, scene: Scene, targets: Tensor, rng: np.random.Generator, share: float
) -> tuple[Tensor, Tensor, Callable[[Look], bool]]:
    """A frame left as it is, or with its colours mixed (``share`` of them), or turned (another ``share``).

    Returns:
        The frame, its targets, and whether a look is still known to be shown or not.
    """
    chance = rng.random()
    held = targets[SHAPE] != NAMES["shape"] - 1
    if chance < share and not scene.cards:
        targets[COLOUR, held] = UNSURE
        return mix_colours(frame, rng), targets, lambda look: look[0] not in COLOUR_LIST
    if share <= chance < 2 * share and len(scene.things) == 1 and not scene.cards:
        targets[SHAPE : SQUASHED + 1, held] = UNSURE
        return turn(frame, scene.things[0].centre, rng), targets, lambda look: look[1] not in SHAPES
    return frame, targets, lambda look: True
