"""From decoded frames to the pixels that a vision tower was trained on, in torch alone.

The video processors of transformers need torchvision; these few steps give the same pixels without it. Tested against
the Pillow-backed image processors of transformers, to within one grey level. T frames, H rows, W columns, P patch side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MODES = {2: "bilinear", 3: "bicubic", 1: "lanczos"}
"""Pillow's number of a filter, as the processor files store it, to its name in torch."""


def resize(frames: Tensor, size: tuple[int, int], resample: int) -> Tensor:
    """(T, 3, H, W) uint8 frames at another size, smoothed when shrunk, as Pillow does it: rows first, then columns.

    Pillow 13 goes down the columns first where that is cheaper (tall pictures), which moves single pixels by up to four
    grey levels; models were trained with the older order, which is kept here.

    Raises:
        ValueError: for a filter that torch does not have (Lanczos came with torch 2.12).
    """
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    if resample not in MODES:
        raise ValueError(
            f"resize: resampling filter {resample} is not supported; the processor file may name {sorted(MODES)}"
        )
    mode = MODES[resample]
    try:
        # Pillow goes along the rows, rounds halves up, and then down the columns. The uint8 kernel of torch is faster,
        # but off by two grey levels here and there.
        wide = F.interpolate(frames.float(), size=(frames.shape[-2], size[1]), mode=mode, antialias=True)
        tall = F.interpolate((wide + 0.5).floor().clamp(0, 255), size=size, mode=mode, antialias=True)
        return (tall + 0.5).floor().clamp(0, 255).to(torch.uint8)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"resize: torch {torch.__version__} has no {mode} filter: pip install -U torch") from error


def normalise(frames: Tensor, factor: float, mean: Sequence[float] | None, std: Sequence[float] | None) -> Tensor:
    """Whole grey levels times ``factor``, minus the mean, over the standard deviation, channel by channel; float32."""
    pixels = frames.to(torch.float32) * factor
    if mean is None or std is None:
        return pixels
    shift, scale = (torch.tensor(list(values), dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return (pixels - shift) / scale


def fit_area(height: int, width: int, multiple: int, least: int, most: int) -> tuple[int, int]:
    """The size nearest to (height, width) with sides that are multiples of ``multiple`` and an area in [least, most].

    Raises:
        ValueError: for a picture more than 200 times as long as wide, which no processor of this kind accepts.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(
            f"frames of {width}x{height} are too elongated for this model; its processor accepts at most 200:1"
        )
    sides = (round(height / multiple) * multiple, round(width / multiple) * multiple)
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(height * width / most)
        sides = tuple(max(multiple, math.floor(side / shrink / multiple) * multiple) for side in (height, width))  # type: ignore[assignment]
    elif sides[0] * sides[1] < least:
        grow = math.sqrt(least / (height * width))
        sides = tuple(math.ceil(side * grow / multiple) * multiple for side in (height, width))  # type: ignore[assignment]
    return sides


def longest_edge(height: int, width: int, edge: int) -> tuple[int, int]:
    """The size whose longer side is ``edge`` and whose shorter one keeps the aspect, rounded up to an even number."""
    if width >= height:
        short = int(edge / (width / height))
        return max(short + short % 2, 1), edge
    short = int(edge * (width / height))
    return edge, max(short + short % 2, 1)


def patchify(pixels: Tensor, patch: int, merge: int, frames: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Patches in the order in which a merging vision tower takes them, and their (T, H, W) grid before merging.

    Patches that will be merged (``merge`` x ``merge``) stand together; ``frames`` successive frames share a patch, and
    the last frame is repeated where they do not divide.

    Args:
        pixels: (T, 3, H, W).
        patch: side of a patch.
        merge: patches a side that will be merged.
        frames: frames that share a patch.

    Returns:
        (T/frames * H/patch * W/patch, 3 * frames * patch * patch) patches.
    """
    if missing := -len(pixels) % frames:
        pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
    T, _, H, W = pixels.shape
    grid = (T // frames, H // patch, W // patch)
    blocks = pixels.reshape(grid[0], frames, 3, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch)
    ordered = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return ordered.reshape(grid[0] * grid[1] * grid[2], -1), grid
