"""What lives in rendered films: coloured shapes, handwritten digits, words, photographs, and the ground behind them.

Everything here is a still picture made from a seed; ``film.py`` moves it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seefar.synthetic.handwriting import handwriting

COLOURS = {
    "red": (222, 30, 30),
    "orange": (255, 138, 0),
    "yellow": (250, 232, 20),
    "green": (20, 165, 60),
    "cyan": (20, 215, 225),
    "blue": (35, 60, 230),
    "purple": (165, 40, 200),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "diamond")
WORDS = (
    "harbor", "meadow", "copper", "winter", "rocket", "silver", "garden", "thunder",
    "island", "candle", "forest", "mirror", "desert", "violin", "castle", "pepper",
)  # fmt: skip
PHOTOGRAPHS = {  # what a person would call it: scikit-image's file
    "astronaut": "astronaut", "cat": "chelsea", "coffee": "coffee", "coins": "coins", "moon": "moon",
    "horse": "horse", "clock": "clock_motion", "bricks": "brick", "grass": "grass", "galaxies": "hubble_deep_field",
    "eye": "retina", "cameraman": "camera", "motorcycle": "motorcycle_left", "page": "page", "gravel": "gravel",
}  # fmt: skip


def held_out(colour: str, shape: str) -> bool:
    """Whether this combination is kept out of every training film: one in eight, each colour and each shape once."""
    return (3 * list(COLOURS).index(colour) + SHAPES.index(shape)) % 8 == 0


@lru_cache(maxsize=4096)
def stencil(shape: str, width: int, height: int) -> np.ndarray:
    """Coverage of a shape that fills a width x height box, (height, width) float32 in [0, 1], smooth at the edges."""
    fine = 4
    picture = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(picture)

    def polygon(points: list[tuple[float, float]]) -> None:
        pen.polygon([((x + 1) / 2 * width * fine, (y + 1) / 2 * height * fine) for x, y in points], fill=255)

    def ellipse(radius: float, fill: int) -> None:
        edge = [(1 - radius) / 2, (1 + radius) / 2]
        pen.ellipse(
            [edge[0] * width * fine, edge[0] * height * fine, edge[1] * width * fine, edge[1] * height * fine],
            fill=fill,
        )

    if shape == "circle":
        ellipse(1.0, 255)
    elif shape == "ring":
        ellipse(1.0, 255)
        ellipse(0.62, 0)
    elif shape == "square":
        polygon([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)])
    elif shape == "triangle":
        polygon([(0, -1), (1, 0.9), (-1, 0.9)])
    elif shape == "diamond":
        polygon([(0, -1), (0.72, 0), (0, 1), (-0.72, 0)])
    elif shape == "cross":
        a = 0.36
        polygon(
            [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
        )
    elif shape == "star":
        radii = [1.0 if i % 2 == 0 else 0.46 for i in range(10)]
        polygon([(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)])
    elif shape == "heart":
        t = np.linspace(0, 2 * math.pi, 80)
        x = 16 * np.sin(t) ** 3 / 16
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 15
        polygon(list(zip(x.tolist(), (y - 0.1).tolist(), strict=True)))
    else:
        raise ValueError(f"unknown shape {shape!r}, expected one of {SHAPES}")
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX), np.float32) / 255


def paste(canvas: np.ndarray, cover: np.ndarray, colour: tuple[int, int, int] | np.ndarray, y: int, x: int) -> None:
    """Blend a colour, or a picture of its size, into the canvas through ``cover``, its upper left corner at (y, x)."""
    h, w = cover.shape
    top, left, bottom, right = max(0, y), max(0, x), min(canvas.shape[0], y + h), min(canvas.shape[1], x + w)
    if bottom <= top or right <= left:
        return
    part = cover[top - y : bottom - y, left - x : right - x, None]
    paint = np.asarray(colour, np.float32)
    if paint.ndim == 3:
        paint = paint[top - y : bottom - y, left - x : right - x]
    ground = canvas[top:bottom, left:right]
    canvas[top:bottom, left:right] = (ground + (paint - ground) * part).astype(np.uint8)


@lru_cache(maxsize=2)
def _by_value(split: str) -> dict[int, np.ndarray]:
    images, labels = handwriting(split)
    return {d: images[labels == d].astype(np.float32) / 16 for d in range(10)}


@lru_cache(maxsize=1024)
def digit(value: int, which: int, size: int, split: str) -> np.ndarray:
    """Coverage (size, size) of a handwritten digit; every fifth writer's sample is kept for the held-out split."""
    images = _by_value(split)[value]
    picture = Image.fromarray((images[which % len(images)] * 255).astype(np.uint8))
    return np.clip(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255 * 1.15, 0, 1)


@lru_cache(maxsize=64)
def word(text: str, size: int) -> np.ndarray:
    """Coverage of a word in capitals, set in Pillow's scalable font at ``size`` pixels."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text.upper())
    picture = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(picture).text((2 - left, 2 - top), text.upper(), fill=255, font=font)
    return np.asarray(picture, np.float32) / 255


@lru_cache(maxsize=32)
def _photograph_file(name: str) -> Image.Image:
    try:
        import skimage.data
    except ImportError as error:
        raise ImportError("photographs need scikit-image: pip install 'seefar[synthetic]'") from error
    from pathlib import Path

    folder = Path(skimage.data.__file__).parent
    stem = PHOTOGRAPHS[name]
    path = next(p for suffix in (".png", ".jpg") if (p := folder / f"{stem}{suffix}").exists())
    return Image.open(path).convert("RGB")


def photograph(name: str, height: int, width: int, seed: int) -> np.ndarray:
    """A real photograph filling the frame, (height, width, 3) uint8: a crop, mirror and exposure of its own by seed."""
    rng = np.random.default_rng(seed)
    picture = _photograph_file(name)
    scale = rng.uniform(0.72, 1.0)
    w = picture.width * scale
    h = min(picture.height, w * height / width)
    w = h * width / height
    left, top = rng.uniform(0, picture.width - w), rng.uniform(0, picture.height - h)
    crop = picture.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    values = np.asarray(crop, np.float32)[:, :: rng.choice([-1, 1])]
    return np.clip(values * rng.uniform(0.8, 1.15) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)


def ground(height: int, width: int, seed: int) -> np.ndarray:
    """A muted backdrop: a gradient, soft clouds, and dull clutter with the outlines of the shapes.

    So neither an outline nor a colour alone gives a shape away.
    """
    rng = np.random.default_rng(seed)
    base = rng.uniform(55, 185) + rng.uniform(-22, 22, 3)
    slope = rng.uniform(-28, 28, (2, 3))
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    clouds = Image.fromarray(rng.uniform(0, 255, (5, 8)).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    values = (
        base
        + slope[0] * y
        + slope[1] * x
        + (np.asarray(clouds, np.float32)[..., None] / 255 - 0.5) * rng.uniform(10, 50)
    )
    canvas = np.clip(values, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 9)):
        size = int(rng.uniform(0.08, 0.4) * height)
        red, green, blue = (int(c) for c in np.clip(rng.uniform(30, 210) + rng.uniform(-20, 20, 3), 0, 255))
        cover = stencil(str(rng.choice(SHAPES)), size, size) * rng.uniform(0.25, 0.7)
        paste(canvas, cover, (red, green, blue), int(rng.uniform(-0.1, 1) * height), int(rng.uniform(-0.1, 1) * width))
    return canvas
