"""The storyboard: a row for each question, with the pictures of its own moments."""

import numpy as np
import pytest
from PIL import Image

from seefar import media
from seefar.vlm.answer import Answer, Cost, Moment
from seefar.vlm.storyboard import EDGE, LEFT, ROW, STILL, WIDTH, write_storyboard


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "greys.mp4"
    return media.write_video(path, (np.full((90, 160, 3), 4 * k, np.uint8) for k in range(60)), 1, crf=10)


def answer(*moments):
    return Answer(
        "Then.", tuple(moments), Cost(1, 1, 1, 1, {}, 1), "fake", "When was it that this happened? " * 9, (3.0, 50.0)
    )


def test_each_row_shows_its_own_moments(tmp_path, film):
    rows = [answer(Moment(10, 10, 0.9), Moment(20, 24, 0.5)), answer(), answer(Moment(50, 50, 0.9))]
    path = write_storyboard(tmp_path / "s.png", media.open(film), rows, title="Three questions")
    sheet = np.asarray(Image.open(path).convert("L")).astype(float)
    top = sheet.shape[0] - ROW * 3 - EDGE
    assert sheet.shape[1] == WIDTH

    def shade(row, column):
        x, y = EDGE + LEFT + column * (STILL[0] + 16), top + row * ROW + 42
        return sheet[y + 20 : y + 100, x + 20 : x + STILL[0] - 20].mean()

    assert [shade(0, 0), shade(0, 1), shade(2, 0)] == pytest.approx([40, 88, 200], abs=4)
    assert shade(1, 0) == pytest.approx(248, abs=4)


def test_a_mark_tells_right_from_wrong(tmp_path, film):
    sheets = [
        np.asarray(
            Image.open(
                write_storyboard(
                    tmp_path / f"{right}.png", media.open(film), [answer()], title="", truths=[("x", right)]
                )
            )
        )
        for right in (True, False)
    ]
    greens = [((s[..., 1].astype(int) - s[..., 0]) > 40).sum() for s in sheets]
    assert greens[0] > 50 > greens[1]


def test_nothing_to_show_is_refused(tmp_path, film):
    with pytest.raises(ValueError, match="at least one answer"):
        write_storyboard(tmp_path / "s.png", media.open(film), [], title="")
