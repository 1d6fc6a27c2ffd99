"""Since when each stroke of a picture has been there, while the picture is shifted, zoomed and written on."""

from __future__ import annotations

import numpy as np

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
