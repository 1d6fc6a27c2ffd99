"""Still pictures: one image, or a folder of them shown one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seefar.media.errors import MediaError
from seefar.media.info import VideoInfo
from seefar.media.report import Report
from seefar.media.sample import Sampling
from seefar.media.timeline import Timeline

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


def natural(path: Path) -> list[tuple[int, int | str]]:
    """A sort key under which frame2 stands before frame10."""
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", path.name) if part]


def images_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order.

    Raises:
        MediaError: there are none.
    """
    paths = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith(".")]
    if not paths:
        kinds = ", ".join(sorted(ENDINGS))
        raise MediaError(f"{folder}: no images in this folder ({kinds}). Name a video file inside it?")
    return sorted(paths, key=natural)


class Stills:
    """Pictures shown for 1 / rate seconds each.

    Args:
        paths: the pictures in order; one of them is a single image at 0.0 s.
        name: what to call them in messages.
        rate: pictures a second.
        path: what `VideoInfo.path` says.
    """

    def __init__(self, paths: list[Path], name: str, rate: float, path: Path) -> None:
        if not rate > 0:
            raise ValueError(f"open: rate must be positive pictures a second, got {rate}")
        self._paths = paths
        self._name = name
        self._rate = rate
        self._path = path

    @cached_property
    def info(self) -> VideoInfo:
        """Size of the first picture that opens."""
        for path in self._paths:
            image = _upright(path)
            if image is not None:
                count = len(self._paths)
                width, height = image.size
                return VideoInfo(str(self._path), count / self._rate, width, height, self._rate, count, "image")
        raise MediaError(f"{self._name}: not one image in it can be decoded. Copy the files again.")

    @property
    def timeline(self) -> Timeline:
        """When each picture is shown."""
        count = len(self._paths)
        numbers = np.arange(count)
        return Timeline(numbers, np.ones(count, bool), numbers, 1 / self._rate, 0.0, count / self._rate)

    def close(self) -> None:
        """Nothing to do: each picture is closed once it is read."""

    def painter(self, size: tuple[int, int]) -> ImagePainter:
        """What turns these pictures into pixels."""
        return ImagePainter(size)

    def pick(self, sampling: Sampling, report: Report) -> Iterator[tuple[float, Image.Image]]:
        """The wanted pictures with their seconds; one that cannot be decoded is left out and counted."""
        timeline = self.timeline
        sampling.check(timeline.duration)
        if len(self._paths) == 1 and _pages(self._paths[0]) > 1:
            report.messages.append(
                f"{self._name}: only the first of its pictures is read; for all of them make it a GIF"
            )
        for index in sampling.choose(timeline):
            second = float(timeline.seconds[index])
            image = _upright(self._paths[index])
            if image is None:
                report.miss(1, second)
            else:
                report.decoded += 1
                yield second, image
        report.close(self._name)


class ImagePainter:
    """Writes pictures as (3, H, W) RGB: area averages on shrinking, linear interpolation on growing."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    def paint(self, image: Image.Image, out: np.ndarray) -> None:
        """Fills ``out`` (3, H, W) uint8 with a picture."""
        height, width = self._size
        if image.size != (width, height):
            shrinks = width < image.width and height < image.height
            image = image.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
        out[...] = np.asarray(image).transpose(2, 0, 1)


def _pages(path: Path) -> int:
    """Pictures in one file: an animated WebP or a TIFF of several pages."""
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except (OSError, SyntaxError, ValueError):
        return 1


def _upright(path: Path) -> Image.Image | None:
    """The picture in RGB, turned as its EXIF says, transparency on white; None where it cannot be decoded."""
    try:
        with Image.open(path) as image:
            image.load()
            turned = ImageOps.exif_transpose(image)
            if turned.mode.startswith("I;16") or turned.mode in ("I", "F"):  # Pillow would clip them
                values = np.asarray(turned, np.float64)
                scale = 255 / 65535 if values.max(initial=0) > 255 else 1.0
                turned = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
            if turned.has_transparency_data:
                glass = turned.convert("RGBA")
                white = Image.new("RGBA", glass.size, "white")
                turned = Image.alpha_composite(white, glass)
            return turned.convert("RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
