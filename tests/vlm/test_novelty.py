"""What is read of a film: every page once, complete, whatever moves in front of it, and the clocks say since when."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from seefar.vlm.novelty import Watch
from seefar.vlm.words import cells

H, W = 270, 480
FONT = ImageFont.load_default(17)
SENTENCES = (
    "Overlapping planks made the hull",
    "A shallow keel allowed landing on",
    "Harmless grains are mistaken for",
    "The bowl is turned twice before we",
    "Threads underground trade minerals",
    "Rivers return the rain to the sea",
)


def page(lines: list[str], top: int = 40, pitch: int = 44) -> np.ndarray:
    """(3, H, W): lines of text one under the other, the same layout for any words."""
    image = Image.new("RGB", (W, H), (240, 240, 235))
    pen = ImageDraw.Draw(image)
    for k, line in enumerate(lines):
        pen.text((30, top + pitch * k), line, font=FONT, fill=(20, 20, 60))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def box(line: int, top: int = 40, pitch: int = 44) -> tuple[float, float, float, float]:
    y = top + pitch * line
    return y / H, 30 / W, (y + 20) / H, 300 / W


def since(reading, line: int, top: int = 40) -> float:
    where = box(line, top)
    return float(np.median(cells(reading.clock, where)[cells(reading.ink, where)]))


def watch(frames, **options):
    """All readings of a film of one frame a second, and the watch."""
    watching = Watch(**options)
    readings = [due for k, frame in enumerate(frames) if (due := watching.look(frame, float(k))) is not None]
    last = watching.close()
    return readings + ([last] if last is not None else []), watching


def noisy(frame: np.ndarray, rng: np.random.Generator, level: float = 3.0) -> np.ndarray:
    return np.clip(frame + rng.normal(0, level, frame.shape), 0, 255).astype(np.uint8)


def test_a_slide_that_stays_is_read_once():
    slide = page(list(SENTENCES[:3]))
    readings, _ = watch([slide] * 90)
    assert len(readings) == 1
    assert readings[0].second == 89 and since(readings[0], 0) == 0


def test_slides_of_one_layout_and_other_words_are_each_read_before_they_go():
    slides = [page([SENTENCES[k] for k in order]) for order in [(0, 1, 2), (3, 4, 5), (1, 2, 0), (4, 5, 3)]]
    readings, _ = watch([slides[k // 15] for k in range(60)])
    assert [reading.second for reading in readings] == [14, 29, 44, 59]
    for k, reading in enumerate(readings):
        np.testing.assert_array_equal(reading.frame, slides[k])
        assert [since(reading, line) for line in range(3)] == [15 * k] * 3


def test_a_slide_built_up_line_by_line_is_read_once_and_each_line_knows_its_second():
    built = [page(list(SENTENCES[: 1 + k // 20])) for k in range(80)]
    readings, _ = watch(built + [page(["Quite another page of words"])] * 10)
    assert len(readings) == 2 and readings[0].second == 79
    assert [since(readings[0], line) for line in range(4)] == [0, 20, 40, 60]


def test_a_trembling_camera_and_grain_cost_no_readings_and_keep_the_clock():
    rng = np.random.default_rng(0)
    first, second = page(list(SENTENCES[:3])), page(list(SENTENCES[3:]))

    def shaken(frame: np.ndarray) -> np.ndarray:
        dy, dx = rng.integers(-2, 3, 2)
        return noisy(np.roll(frame, (dy, dx), (1, 2)), rng)

    readings, _ = watch([shaken(first) for _ in range(60)] + [shaken(second) for _ in range(60)])
    assert 2 <= len(readings) <= 4
    whole = [reading for reading in readings if reading.fresh_RC.sum() > 40]
    assert len(whole) == 2
    assert since(whole[0], 1) <= 2 and 60 <= since(whole[1], 1) <= 62


def test_a_speaker_in_the_corner_and_a_pointer_cost_no_readings():
    rng = np.random.default_rng(1)
    slide = page(list(SENTENCES[:3]))
    film = []
    for k in range(120):
        frame = slide.copy()
        face = rng.integers(0, 255, (3, 16, 16)).repeat(5, 1).repeat(5, 2)
        frame[:, 190:270, 400:480] = face if k % 30 > 3 else 90  # rests now and then
        y, x = rng.integers(0, H - 10), rng.integers(0, W - 10)
        frame[:, y : y + 8, x : x + 4] = 10
        film.append(frame)
    readings, _ = watch(film)
    assert len(readings) <= 2
    assert since(readings[-1], 0) <= 1


def test_a_fade_does_not_hide_that_the_words_changed():
    first, second = page(list(SENTENCES[:3])), page(list(SENTENCES[3:]))
    half = ((first.astype(int) + second) // 2).astype(np.uint8)
    readings, _ = watch([first] * 20 + [half] + [second] * 20)
    assert [reading.second for reading in readings] == [19, 40]
    assert 20 <= since(readings[1], 0) <= 21


def test_lines_that_scroll_keep_the_second_at_which_they_came():
    rows = [SENTENCES[k % 6] + f" {k}" for k in range(9)]
    film = []
    for k in range(90):
        shown = 1 + k // 10
        start = max(0, shown - 5)
        film.append(page(rows[start:shown]))
    readings, _ = watch(film)
    last = readings[-1]
    assert last.second == 89
    assert [since(last, line) for line in range(5)] == [40, 50, 60, 70, 80]
    assert len(readings) <= 5


def test_readings_never_exceed_their_share_and_what_is_missed_is_counted():
    slides = [page([SENTENCES[(3 * k) % 6] + f" {k}", SENTENCES[k % 6]]) for k in range(50)]
    film = [slides[k // 4] for k in range(200)]
    readings, watching = watch(film)
    assert len(readings) <= 8 + 0.0475 * 200
    assert watching.missed > 25
    assert len(watch(film, share=1.0)[0]) >= 48


def test_an_empty_film_and_a_blank_one_give_nothing():
    assert watch([])[0] == []
    assert watch([np.full((3, H, W), 200, np.uint8)] * 30)[0] == []


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        Watch(share=0)


def test_a_page_that_fades_away_is_read_while_it_is_whole():
    faint = np.clip(0.35 * page(list(SENTENCES[:4])) + 0.65 * page([]), 0, 255).astype(np.uint8)
    fainter = np.clip(0.15 * page(list(SENTENCES[:4])) + 0.85 * page([]), 0, 255).astype(np.uint8)
    readings, _ = watch([page(list(SENTENCES[:4]))] * 30 + [faint, fainter] + [page([])] * 10)
    assert [reading.second for reading in readings] == [29]
