"""Since when each stroke of a picture has been there, while the picture is shifted, zoomed and written on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

REACH = 3  # pixels of the thumbnail by which a picture may wander from one sample to the next
RESEMBLES = 0.7  # correlation of slopes from which two cuttings show the same words; that of other words is below 0.35
WORN = 0.85  # correlation below which the cutting that is looked for is taken anew, as under a zoom
HIDDEN = 3  # samples in a row for which something may stand before them
FLAT = 2.0  # grey levels of spread below which nothing is written
INK = 10.0  # grey levels from a pixel to the next along a line that make a stroke


class Strokes:
    """A clock for each pixel (h, w): the second since which its stroke stands, wherever the picture has moved."""

    def __init__(self, thumb: np.ndarray, second: float) -> None:
        self.clock = np.full(thumb.shape, second, np.float32)
        self.ink = strokes(thumb)

    def step(
        self, thumb: np.ndarray, second: float, same: np.ndarray, moved: np.ndarray, shift: tuple[int, int]
    ) -> None:
        """Takes the next picture in.

        Args:
            thumb: (h, w) grey.
            second: its time.
            same: (h, w) bool, where it shows what was there before, here or, if ``moved``, ``shift`` away.
            moved: (h, w) bool.
            shift: whole pixels (down, right).
        """
        import cv2

        clock, had = self.clock, self.ink
        if shift != (0, 0) and moved.any():
            matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float32)
            there = [
                cv2.warpAffine(
                    each, matrix, thumb.shape[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
                )
                for each in (clock, had.astype(np.uint8))
            ]
            clock, had = np.where(moved, there[0], clock), np.where(moved, there[1] > 0, had)
        clock = np.where(same, clock, np.float32(second))
        ink = strokes(thumb)
        # a zoom or a hand pushes strokes into empty pixels little by little, and they bring their clock along
        beside = cv2.dilate(np.where(had & same, clock, np.float32(-1)), np.ones((5, 5), np.uint8))
        self.clock = np.where(ink & ~had & same & (beside >= 0), beside, clock)
        self.ink = ink


def strokes(thumb: np.ndarray) -> np.ndarray:
    """(h, w) bool: where grey changes sharply along the line."""
    ink = np.zeros(thumb.shape, bool)
    ink[:, 1:] = np.abs(thumb[:, 1:] - thumb[:, :-1]) > INK
    return ink


def followed(past: Sequence[tuple[float, np.ndarray]], box: Sequence[float]) -> float:
    """The second back to which what the last picture shows under a box can be followed, wherever the camera took it.

    Args:
        past: seconds and (h, w) uint8 pictures, the last one last.
        box: y0, x0, y1, x1 as shares of the height and the width.
    """
    import cv2

    since, picture = past[-1]
    h, w = picture.shape
    top, left = max(0, int(box[0] * h)), max(0, int(box[1] * w))
    cutting = picture[top : math.ceil(box[2] * h), left : math.ceil(box[3] * w)]
    if cutting.size == 0 or cutting.std() < FLAT:
        return since
    (height, width), sought, hidden = cutting.shape, slopes(cutting), 0
    worn: np.ndarray | None = None
    for second, before in reversed(past[:-1]):
        reach = REACH * (1 + hidden)
        y, x = max(0, top - reach), max(0, left - reach)
        around = slopes(before[y : top + height + reach, x : left + width + reach])
        _, score, _, (right, down) = cv2.minMaxLoc(cv2.matchTemplate(around, sought, cv2.TM_CCOEFF_NORMED))
        if score > RESEMBLES:
            since, hidden, top, left = second, 0, y + down, x + right
            if score < WORN and worn is not None:
                sought, worn = worn, None
            else:  # not from the first worn sample on: in a fade, it resembles the picture before the fade as well
                worn = slopes(before[top : top + height, left : left + width]) if score < WORN else None
        else:
            hidden += 1
            if hidden > HIDDEN:
                break
    return since


def slopes(picture: np.ndarray) -> np.ndarray:
    """(h, w) float32: how grey rises along the line, a little smoothed; lines of other words differ in little else."""
    import cv2

    rises: np.ndarray = cv2.GaussianBlur(cv2.Sobel(picture, cv2.CV_32F, 1, 0, ksize=1), (3, 3), 0)
    return rises
