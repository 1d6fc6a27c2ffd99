"""What a slide, an editor, a terminal or a web page looks like at a given second, drawn with real typefaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Colour = tuple[int, int, int]

LEVELS = (12, 243)  # darkest and brightest: room for grain on top
FACES = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "DejaVuSans-Bold", "built-in")


def typeface(name: str, size: float) -> Any:
    """A font of Matplotlib's or Pillow's own.

    Raises:
        ImportError: Matplotlib, whose folder holds the fonts, is missing.
    """
    from PIL import ImageFont

    if name == "built-in":
        return ImageFont.load_default(size)
    try:
        from matplotlib import get_data_path
    except ImportError as error:
        raise ImportError("typeface: the fonts come with Matplotlib: pip install 'seefar[plot]'") from error
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


@dataclass
class Line:
    """A row of text on the paper.

    Args:
        x, y: upper left corner on the paper, in pixels.
        appear: second of the scene at which it comes; typed lines begin then.
        speed: characters a second while it is typed; 0 shows it at once.
        mark: which line of the topic it belongs to (0 the title), -1 for decoration.
    """

    text: str
    x: float
    y: float
    font: Any
    colour: Colour
    appear: float = 0.0
    speed: float = 0.0
    mark: int = -1

    def written(self) -> float:
        """The second of the scene at which its last character stands."""
        return self.appear + (len(self.text) / self.speed if self.speed else 0.0)

    def shown(self, now: float) -> int:
        """How many of its characters are there."""
        if now < self.appear:
            return 0
        return min(len(self.text), int((now - self.appear) * self.speed)) if self.speed else len(self.text)


@dataclass
class Page:
    """A sheet of paper with lines that come over time, seen through a window that may scroll.

    Args:
        paper: (P, W, 3) uint8, at least as high as the window.
        window: (top, height) of the strip of the frame through which the paper is seen; the rest is ``frame``.
        scroll: (second, offset) of the paper's view, rising in time; between two of them it moves evenly.
        blur: radius of a soft lens, in pixels.
    """

    paper: np.ndarray
    lines: Sequence[Line]
    window: tuple[int, int]
    frame: np.ndarray
    scroll: Sequence[tuple[float, float]] = ((0.0, 0.0),)
    blur: float = 0.0
    _state: tuple[int, ...] = field(default=(), repr=False)
    _drawn: Any = field(default=None, repr=False)
    _seen: tuple[Any, np.ndarray] = field(default=(None, np.zeros(0)), repr=False)

    def at(self, now: float) -> np.ndarray:
        """The (H, W, 3) uint8 frame at a second of the scene; not to be written to."""
        from PIL import Image, ImageDraw, ImageFilter

        state = tuple(line.shown(now) for line in self.lines)
        offset = round(self._offset(now))
        if self._seen[0] == (state, offset):
            return self._seen[1]
        if self._drawn is None:
            self._drawn, self._state = Image.fromarray(self.paper), (0,) * len(state)
        pen = ImageDraw.Draw(self._drawn)
        for line, count, before in zip(self.lines, state, self._state, strict=True):
            if count != before:
                pen.text(
                    (line.x + line.font.getlength(line.text[:before]), line.y),
                    line.text[before:count],
                    font=line.font,
                    fill=line.colour,
                )
        self._state = state
        top, height = self.window
        frame = self.frame.copy()
        frame[top : top + height] = np.asarray(self._drawn)[offset : offset + height]
        if self.blur:
            frame = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(self.blur)))
        frame = np.clip(frame, *LEVELS)
        self._seen = ((state, offset), frame)
        return frame

    def appears(self, mark: int) -> tuple[float, float] | None:
        """From when to when the words of a mark come into view (seconds of the scene); None where they never do."""
        mine = [line for line in self.lines if line.mark == mark]
        if not mine:
            return None
        spans = [(self._visible(line, line.appear), self._visible(line, line.written())) for line in mine]
        return min(start for start, _ in spans), max(end for _, end in spans)

    def _offset(self, now: float) -> float:
        """How far the paper is scrolled."""
        seconds, offsets = np.array(self.scroll).T
        return float(np.interp(now, seconds, offsets))

    def _visible(self, line: Line, since: float) -> float:
        """The first second, not before ``since``, at which the whole line stands inside the window."""
        bottom = line.y + line.font.size * 1.2
        if bottom <= self._offset(since) + self.window[1]:
            return since
        for (t0, y0), (t1, y1) in zip(self.scroll, self.scroll[1:], strict=False):
            if t1 >= since and y1 + self.window[1] >= bottom:
                return float(max(since, t0 + (t1 - t0) * max(0.0, bottom - self.window[1] - y0) / max(y1 - y0, 1e-9)))
        return float("inf")


def wrap(text: str, font: Any, width: float) -> list[str]:
    """The text broken at spaces into rows no wider than ``width`` pixels."""
    rows = [""]
    for word in text.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font.getlength(longer) > width:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows
