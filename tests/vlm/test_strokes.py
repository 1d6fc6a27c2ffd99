"""Clocks of strokes: they go along with what moves, and start anew where something is written."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seefar.vlm.strokes import HIDDEN, Strokes, followed

SHAPE = (64, 80)


def bars(top: int, left: int = 10) -> np.ndarray:
    """Upright strokes, six rows high."""
    thumb = np.full(SHAPE, 200, np.float32)
    thumb[top : top + 6, left : left + 40 : 4] = 20
    return thumb


def everywhere(value: bool) -> np.ndarray:
    return np.full(SHAPE, value)


def test_strokes_that_stay_keep_their_second_and_changed_ones_start_anew():
    clock = Strokes(bars(10), 3.0)
    clock.step(bars(10), 4.0, everywhere(True), everywhere(False), (0, 0))
    assert (clock.clock == 3.0).all() and clock.ink[10:16].any() and not clock.ink[20:].any()
    written = np.minimum(bars(10), bars(30))
    same = everywhere(True)
    same[24:40] = False
    clock.step(written, 5.0, same, everywhere(False), (0, 0))
    assert set(clock.clock[30:36][clock.ink[30:36]]) == {5.0}
    assert set(clock.clock[10:16][clock.ink[10:16]]) == {3.0}


def test_strokes_that_scroll_keep_their_second_to_the_pixel():
    clock = Strokes(bars(30), 1.0)
    lines = np.minimum(bars(30), bars(39))
    same = everywhere(True)
    same[39:45] = False
    clock.step(lines, 2.0, same, everywhere(False), (0, 0))
    scrolled = np.minimum(bars(21), bars(30))
    clock.step(scrolled, 3.0, everywhere(True), everywhere(True), (-9, 0))
    assert set(clock.clock[21:27][clock.ink[21:27]]) == {1.0}
    assert set(clock.clock[30:36][clock.ink[30:36]]) == {2.0}


def test_strokes_that_a_zoom_pushes_along_bring_their_second():
    clock = Strokes(np.full(SHAPE, 200, np.float32), 0.0)
    same = everywhere(True)
    same[8:18] = False
    clock.step(bars(10), 7.0, same, everywhere(False), (0, 0))
    for k in range(1, 9):  # a pixel a second, never enough to be a change
        clock.step(bars(10 + k), 7.0 + k, everywhere(True), everywhere(False), (0, 0))
    assert set(clock.clock[18:24][clock.ink[18:24]]) == {7.0}


def words(text: str, left: int = 12, top: int = 20) -> np.ndarray:
    """A line of words on a thumbnail 320 pixels wide, as small as slides show it."""
    image = Image.new("L", (320, 96), 240)
    ImageDraw.Draw(image).text((left, top), text, font=ImageFont.load_default(11), fill=20)
    return np.asarray(image)


def box(left: int, top: int = 20) -> tuple[float, float, float, float]:
    return top / 96, left / 320, (top + 13) / 96, (left + 180) / 320


LINE, OTHER = "Overlapping planks made the hull", "Harmless grains are mistaken for"


def test_words_are_followed_while_the_camera_wanders_and_something_passes_before_them():
    films = [words(OTHER)] * 5 + [words(LINE, 12 + 2 * k, 20 + k) for k in range(20)]
    films[11] = films[12] = words("")
    past = [(float(k), picture) for k, picture in enumerate(films)]
    assert followed(past, box(50, 39)) == 5.0


def test_words_that_were_hidden_for_long_and_other_words_in_one_place_are_not_followed():
    films = [words(LINE)] * 3 + [words(OTHER)] * (HIDDEN + 1) + [words(LINE)] * 4
    assert followed(list(enumerate(films)), box(12)) == 4 + HIDDEN
    assert followed([(0.0, words(LINE)), (1.0, words(OTHER))], box(12)) == 1.0


def test_words_are_not_followed_through_a_fade():
    fade = ((words(LINE).astype(int) + words(OTHER)) // 2).astype(np.uint8)
    films = [words(OTHER)] * 8 + [fade] + [words(LINE)] * 8
    assert followed(list(enumerate(films)), box(12)) in (8, 9)


def test_where_nothing_is_written_nothing_is_followed():
    assert followed([(0.0, words("")), (1.0, words(""))], box(12)) == 1.0
