"""Single frames painted for the dual encoder of ``pico``: each with scenery and handwriting that no other frame has.

A rendered film shows one backdrop for a minute or more and few characters, so films alone teach little of what scenery
may look like: its dull outlines are then taken for shapes. These frames skip the codec, which leaves next to nothing
once a frame is shrunk to what the encoder sees.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seefar.synthetic.handwriting import LEVELS, SIDE, handwriting
from seefar.synthetic.shapes import COLOURS, ground, paste, stencil
from seefar.synthetic.story import draw_cast
from seefar.training.names import ASPECT
from seefar.training.worlds import Scene, Thing

FINER = 2
"""Pixels painted for one pixel seen, along a side."""
FILM_HEIGHT, PAN = 360, (440 / 360, 760 / 640)
"""Of a rendered film: the rows of its frames, and how much larger its backdrops are than a frame."""


def paint(
    rng: np.random.Generator, size: tuple[int, int], count: int, *, empty: float = 0.2, each: int = 4
) -> list[tuple[Tensor, Scene]]:
    """Frames (3, H, W) uint8 as a training film might show them, and what they show.

    Args:
        rng: decides everything.
        size: (H, W), width over height about 16 / 9.
        count: how many frames.
        empty: share of the frames that show scenery alone.
        each: frames before another backdrop.
    """
    height, width = (side * FINER for side in size)
    rows, columns = (round(side * more) for side, more in zip((height, width), PAN, strict=True))
    made = []
    for n in range(count):
        if n % each == 0:
            backdrop = ground(rows, columns, int(rng.integers(1 << 30)))
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        canvas = backdrop[top : top + height, left : left + width, :][:, :: rng.choice([-1, 1])].copy()
        halves = () if rng.random() < empty else [("left", "right"), ("all",)][int(rng.random() < 0.5)]
        things = tuple(_draw_thing(canvas, rng, half) for half in halves)
        seen = np.zeros((*size, 3), np.float32)
        for y, x in np.ndindex(FINER, FINER):
            seen += canvas[y::FINER, x::FINER]
        seen /= FINER**2
        seen += rng.normal(0, rng.uniform(0.5, 2.5), seen.shape)
        pixels = torch.from_numpy(seen.clip(0, 255).round().astype(np.uint8)).movedim(-1, 0)
        made.append((pixels, Scene(things, ())))
    return made


def _draw_thing(canvas: np.ndarray, rng: np.random.Generator, half: str) -> Thing:
    unit = canvas.shape[0]
    (who,) = draw_cast(rng, 1, "train")
    number = int(rng.integers(10)) if who.shape != "ring" and rng.random() < 0.8 else None
    radius = float(rng.uniform(0.16, 0.26))
    low, high = {"all": (0.0, ASPECT), "left": (0.0, ASPECT / 2), "right": (ASPECT / 2, ASPECT)}[half]
    y, x = float(rng.uniform(radius, 1 - radius)), float(rng.uniform(low + radius, high - radius))
    h = w = 2 * radius * unit
    squashed = bool(rng.random() < 0.3)
    if squashed:
        near = radius * 0.6
        side = str(
            rng.choice([side for side in ("top", "bottom", "left", "right") if {side, half} != {"left", "right"}])
        )
        y = {"top": near, "bottom": 1 - near}.get(side, y)
        x = {"left": near, "right": ASPECT - near}.get(side, x)
        h, w = (h * 0.55, w * 1.25) if side in ("top", "bottom") else (h * 1.25, w * 0.55)
    shape = (max(2, round(w)), max(2, round(h)))
    rim = max(1, round(8 / FILM_HEIGHT * unit))
    middle = (y * unit, x * unit)
    _stamp(canvas, stencil(who.shape, shape[0] + rim, shape[1] + rim) * 0.9, (18, 18, 22), middle)
    _stamp(canvas, stencil(who.shape, *shape), COLOURS[who.colour], middle)
    if number is not None:
        side_length = max(8, round(min(shape) * 0.5))
        plate = round(side_length * 1.35)
        _stamp(canvas, stencil("circle", plate, plate), (16, 16, 20), middle)
        _stamp(canvas, write_digit(rng, number, side_length), (255, 255, 255), middle)
    return Thing(who.colour, who.shape, number, squashed, (y, x / ASPECT), radius)


def _stamp(canvas: np.ndarray, cover: np.ndarray, colour: tuple[int, int, int], middle: tuple[float, float]) -> None:
    h, w = cover.shape
    paste(canvas, cover, colour, round(middle[0] - h / 2), round(middle[1] - w / 2))


def write_digit(rng: np.random.Generator, value: int, size: int) -> np.ndarray:
    """Coverage (size, size) of a digit of the training handwriting, leant, stretched, shifted and inked at random."""
    images, labels = handwriting("train")
    written = images[rng.choice(np.flatnonzero(labels == value))].astype(np.float32) * (255 / (LEVELS - 1))
    lean, skew = rng.normal(0, 0.12), rng.normal(0, 0.1)
    stretch = np.exp(rng.normal(0, 0.08, 2))
    cos, sin = np.cos(lean), np.sin(lean)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, skew], [0, 1]]) @ np.diag(stretch) * (SIDE / size)
    offset = SIDE / 2 + rng.normal(0, 0.25, 2) - matrix @ np.full(2, size / 2)
    back = [*matrix[0], offset[0], *matrix[1], offset[1]]
    picture = Image.fromarray(written.astype(np.uint8)).transform(
        (size, size), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC
    )
    ink = np.asarray(picture, np.float32) / 255
    return np.clip(ink ** np.exp(rng.normal(0, 0.15)) * 1.15, 0, 1)
