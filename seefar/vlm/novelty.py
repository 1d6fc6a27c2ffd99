"""Which frames hold something new to read: a page is taken once, complete, just before it goes.

R rows of blocks, C columns of blocks. A block is 8 x 8 pixels of a thumbnail 320 pixels wide.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from seefar.vlm.strokes import Strokes

Places = tuple[np.ndarray, np.ndarray]

WIDTH, BLOCK = 320, 8
CHANGED = 0.35  # share of a block's energy by which it may differ from the block before and still be the same
NOISE = 6.0  # energy that grain and compression alone bring
FADED = 0.5  # share to which the energy around a block falls as its words fade, even though it seems unchanged
TEXTURE = 25.0  # energy below which a block holds no strokes
MEMORY = 240  # samples whose thumbnails are kept
SCROLLED = 4.0  # pixels of the thumbnail from which a shift is a scroll, not a camera that trembles


@dataclass(frozen=True)
class Reading:
    """A frame to be read.

    Args:
        frame: (3, H, W) uint8.
        second: the last moment at which it was seen unchanged.
        fresh_RC: blocks with strokes that no earlier reading has shown.
        ink: (h, w) bool, where the strokes of the thumbnail are.
        clock: (h, w), since which second each of them has been there.
        past: seconds and thumbnails (h, w) uint8 of the last minutes, that of the frame last.
    """

    frame: np.ndarray
    second: float
    fresh_RC: np.ndarray
    ink: np.ndarray
    clock: np.ndarray
    past: tuple[tuple[float, np.ndarray], ...]


class Watch:
    """Hands out each page of a film once, when it is about to go, with the time at which each part of it came.

    Every block keeps a clock: the second since which it has not changed, that is since ``mean (a - b)^2``, where a
    and b are its steps of grey from pixel to pixel along the line in two neighbouring samples, stayed below ``CHANGED
    * max(mean a^2, mean b^2) + NOISE``. (Along the line, as two lines of other words share all else: where they stand
    and how high they are.) A frame is due when enough blocks that had settled and were never read disappear at once,
    so a slide built up over a minute or a file being typed costs one reading, and restless blocks (a speaker's face,
    a pointer) cost none: the more often a block has changed lately, the longer it must rest before it counts. Shifts
    of the whole picture, by a trembling camera or by scrolling, move the clocks along.

    Args:
        lost: how many unread blocks may vanish unread.
        patience: seconds after which unread blocks are read even though they stay.
        share: the most readings per frame seen, once ``burst`` of them have been spent.
    """

    def __init__(self, *, lost: int = 4, patience: float = 120.0, share: float = 0.0475, burst: int = 8):
        if not 0 < share <= 1:
            raise ValueError(f"Watch: share must lie in (0, 1], got {share}")
        self.lost, self.patience, self.share, self.burst = lost, patience, share, burst
        self.seen = self.taken = self.missed = 0
        self._frame: np.ndarray | None = None
        self._thumb = np.zeros((0, 0), np.float32)
        self._past: deque[tuple[float, np.ndarray]] = deque(maxlen=MEMORY)

    def look(self, frame: np.ndarray, second: float) -> Reading | None:
        """The frame before this one, if it has to be read now; (3, H, W) uint8 frames of one size, in time order."""
        import cv2

        self.seen += 1
        thumb = _thumbnail(frame)
        if self._frame is None or thumb.shape != self._thumb.shape:
            due = self.close()
            shape = (thumb.shape[0] // BLOCK, thumb.shape[1] // BLOCK)
            self._clock = np.full(shape, second)
            self._busy = np.zeros(shape)
            self._drift = np.zeros(2)
            self._strokes = Strokes(thumb, second)
            self._strength = _energy(thumb)
            self._unread = self._strength > TEXTURE
            self._frame, self._thumb, self._second = frame, thumb, second
            self._past.clear()
            self._past.append((second, thumb.astype(np.uint8)))
            return due
        strength = _energy(thumb)
        same, source, moved, shift = self._match(cv2, thumb, strength)
        kept = np.zeros(same.shape, bool)
        around, before = cv2.blur(strength, (3, 3)), cv2.blur(self._strength, (3, 3))
        held = same & (around > FADED * before[source])  # a fade takes words away little by little
        kept[source[0][held], source[1][held]] = True
        settled = self._rested(1.0)
        gone = self._unread & settled & ~kept
        waiting = self._unread & settled & (second - self._clock > self.patience)
        due = self._take() if gone.sum() > self.lost or waiting.sum() > self.lost else None
        ink, had = strength > TEXTURE, self._strength[source] > TEXTURE
        unread = np.where(same, self._unread[source], True)
        # a slow zoom pushes strokes that were read into blocks that were empty
        beside = cv2.dilate((unread & had).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        self._unread = ink & np.where(ink & ~had & same, beside, unread)
        self._clock = np.where(same, self._clock[source], second)
        self._strokes.step(thumb, second, _pixels(same), _pixels(moved), shift)
        self._busy = 0.95 * self._busy[source] + 0.05 * ~same
        self._frame, self._thumb, self._strength, self._second = frame, thumb, strength, second
        self._past.append((second, thumb.astype(np.uint8)))
        return due

    def close(self) -> Reading | None:
        """The last page, if it was not read yet."""
        if self._frame is None or (self._unread & self._rested(0.0)).sum() <= self.lost:
            return None
        return self._take()

    def wordless(self, empty_RC: np.ndarray) -> None:
        """Blocks of the frame just handed out that hold no words: they must rest longer before they count again."""
        self._busy = np.maximum(self._busy, 0.7 * empty_RC)

    def _rested(self, least: float) -> np.ndarray:
        """(R, C): blocks at rest for ``least`` seconds, longer where they change more often than captions do."""
        needed = least + 8.0 * self._busy + 40.0 * np.maximum(0.0, self._busy - 0.3)
        rested: np.ndarray = self._second - self._clock >= needed
        return rested

    def _take(self) -> Reading | None:
        if self.taken + 1 > self.burst + self.share * self.seen:
            self.missed += 1
            return None
        assert self._frame is not None
        self.taken += 1
        strokes = self._strokes
        reading = Reading(self._frame, self._second, self._unread, strokes.ink, strokes.clock, tuple(self._past))
        self._unread = np.zeros_like(self._unread)
        return reading

    def _match(
        self, cv2: Any, thumb: np.ndarray, strength: np.ndarray
    ) -> tuple[np.ndarray, Places, np.ndarray, tuple[int, int]]:
        """Which blocks (R, C) are the same; where each was; which moved, and by how many pixels (down, right)."""
        R, C = self._clock.shape
        rows, columns = np.repeat(np.arange(R)[:, None], C, 1), np.repeat(np.arange(C)[None], R, 0)
        same = _apart(self._thumb, thumb, self._strength, strength) <= 1
        still = same, (rows, columns), np.zeros_like(same), (0, 0)
        if same.mean() > 0.98:
            return still
        (dx, dy), _ = cv2.phaseCorrelate(self._thumb, thumb, _hann(cv2, thumb.shape))
        if dx * dx + dy * dy < 0.01:
            return still
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(self._thumb, matrix, thumb.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        shifted = _apart(moved, thumb, _energy(moved), strength) <= 1
        if shifted.mean() < same.mean() + 0.02 and (shifted & ~same).sum() < 0.3 * (~same).sum():
            return still
        if max(abs(dx), abs(dy)) < SCROLLED:  # a camera that trembles or pans: everything goes along
            before, self._drift = self._drift, self._drift + np.array([dy, dx])
            up, left = (np.round(self._drift / BLOCK) - np.round(before / BLOCK)).astype(int).tolist()
            down, right = (np.round(self._drift) - np.round(before)).astype(int).tolist()
            return same | shifted, self._clip(rows - up, columns - left), np.ones_like(same), (down, right)
        by_shift = shifted & ~same & (strength > TEXTURE / 4)
        up, left = round(dy / BLOCK), round(dx / BLOCK)
        source = self._clip(np.where(by_shift, rows - up, rows), np.where(by_shift, columns - left, columns))
        return same | by_shift, source, by_shift, (round(dy), round(dx))

    def _clip(self, rows: np.ndarray, columns: np.ndarray) -> Places:
        R, C = self._clock.shape
        return rows.clip(0, R - 1), columns.clip(0, C - 1)


def _pixels(raster: np.ndarray) -> np.ndarray:
    """(R, C) of blocks as (h, w) of pixels."""
    return raster.repeat(BLOCK, 0).repeat(BLOCK, 1)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """(3, H, W) uint8 to grey float32, 320 wide, its height a multiple of the block."""
    import cv2

    height = max(BLOCK, round(frame.shape[1] * WIDTH / frame.shape[2] / BLOCK) * BLOCK)
    red, green, blue = (
        cv2.resize(plane, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32) for plane in frame
    )
    grey: np.ndarray = cv2.GaussianBlur(0.3 * red + 0.5 * green + 0.2 * blue, (3, 3), 0)
    return grey


def _hann(cv2: Any, shape: tuple[int, ...]) -> np.ndarray:
    window: np.ndarray = cv2.createHanningWindow(shape[::-1], cv2.CV_32F)
    return window


def _blocks(image: np.ndarray) -> np.ndarray:
    """(R, C) means over blocks."""
    import cv2

    height, width = image.shape
    means: np.ndarray = cv2.resize(image, (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA)
    return means


def _energy(image: np.ndarray) -> np.ndarray:
    """(R, C) mean square of the steps from pixel to pixel along the lines."""
    steps = np.zeros_like(image)
    np.subtract(image[:, 1:], image[:, :-1], out=steps[:, 1:])
    return _blocks(steps * steps)


def _apart(before: np.ndarray, after: np.ndarray, had: np.ndarray, has: np.ndarray) -> np.ndarray:
    """(R, C) difference of two thumbnails, of energies ``had`` and ``has``, in units of what counts as a change."""
    ratio: np.ndarray = _energy(after - before) / (CHANGED * np.maximum(had, has) + NOISE)
    return ratio
