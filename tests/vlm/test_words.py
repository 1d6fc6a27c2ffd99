"""Words read from real pixels, and the spaces that recognition swallows."""

from __future__ import annotations

import sys
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from seefar.vlm.words import LONGEST, WordFinder, cells, spaced

LINES = ("Photosynthesis in leaves", "Water is split into oxygen", "The king was executed in 1793")


def frame(width: int = 640, height: int = 360, ink=(20, 20, 60), paper=(240, 240, 235)) -> np.ndarray:
    scale = width / 640
    image = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(image)
    for k, line in enumerate(LINES):
        pen.text((40 * scale, (50 + 90 * k) * scale), line, font=ImageFont.load_default(26 * scale), fill=ink)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


@pytest.fixture(scope="module")
def finder() -> WordFinder:
    return WordFinder(threads=2)


def test_lines_are_read_with_their_places(finder: WordFinder):
    rows = finder.read(frame())
    assert len(rows) == 3
    for k, (row, line) in enumerate(zip(rows, LINES, strict=True)):
        assert SequenceMatcher(None, row.text.replace(" ", ""), line.replace(" ", "")).ratio() > 0.95
        y0, x0, y1, x1 = row.box
        assert y0 * 360 < 50 + 90 * k + 18 < y1 * 360 and abs(x0 * 640 - 40) < 12 and x1 < 0.75
        assert row.score > 0.8


def test_only_wanted_places_are_read(finder: WordFinder):
    wanted = np.zeros((6, 8), bool)
    wanted[2] = True
    rows = finder.read(frame(), wanted)
    assert [row.text.split()[0] for row in rows] == ["Water"]
    assert finder.read(frame(), np.zeros((6, 8), bool)) == []


def test_light_on_dark_and_large_frames_are_read_too(finder: WordFinder):
    rows = finder.read(frame(2560, 1440, ink=(250, 220, 90), paper=(20, 30, 60)))
    assert max(2560, 1440) > LONGEST and len(rows) == 3
    assert "executed" in rows[2].text and rows[2].box[1] < 0.1


def test_a_frame_without_words_has_none(finder: WordFinder):
    assert finder.read(np.full((3, 270, 480), 128, np.uint8)) == []


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        ("thelightreactions", "the light reactions"),
        ("Waterissplitandoxygenisreleased", "Water is split and oxygen is released"),
        ("partsoftheleaf", "parts of the leaf"),
        ("chlorophyll", "chlorophyll"),
        ("Impressionist", "Impressionist"),
        ("Thekingwasexecuted", "The king was executed"),
        ("x = find(1793)", "x = find(1793)"),
    ],
)
def test_swallowed_spaces_come_back(run: str, wanted: str):
    assert spaced(run) == wanted


@settings(max_examples=50, deadline=None)
@given(st.text("abcdefghij XYZ0159.,_()", max_size=40))
def test_spacing_changes_nothing_but_spaces(text: str):
    assert "".join(spaced(text).split()) == "".join(text.split())


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.99), st.floats(0, 0.99), st.floats(0.001, 0.5))
def test_every_box_covers_at_least_one_cell(rows: int, columns: int, y: float, x: float, side: float):
    part = cells(np.zeros((rows, columns)), (y, x, min(1.0, y + side), min(1.0, x + side)))
    assert part.size >= 1


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'seefar\[read\]'"):
        WordFinder()
