"""Rendered lectures: the truth beside a film is what it shows, and questions do not give their answers away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seefar.media import write_video
from seefar.synthetic import lecture_scene as scenes
from seefar.synthetic.lecture import _script, frames, render_lecture
from seefar.synthetic.lecture_page import typeface, wrap
from seefar.synthetic.lecture_topics import topics

SIZE = (480, 270)


def test_the_bank_is_large_and_its_splits_share_no_subject():
    calibration, test = topics("calibration"), topics("test")
    assert len(calibration) + len(test) >= 60
    assert not {topic.title for topic in calibration} & {topic.title for topic in test}
    assert all(len(topic.lines) >= 3 and len(topic.questions) >= 2 for topic in calibration + test)
    assert all(0 <= line <= len(topic.lines) for topic in calibration + test for line, _ in topic.questions)
    kinds = [{topic.kind for topic in split} for split in (calibration, test)]
    assert kinds == [{"talk", "code", "term"}] * 2


def test_questions_about_a_whole_subject_paraphrase_its_title():
    told = []
    for topic in topics("calibration") + topics("test"):
        title = set(re.findall(r"[a-z]{4,}", topic.title.lower()))
        for line, question in topic.questions:
            if line == 0 and topic.kind == "talk":
                assert topic.title.lower() not in question.lower()
                told.append(len(title & set(re.findall(r"[a-z]{4,}", question.lower()))) / max(len(title), 1))
    assert np.mean(told) < 0.2 and np.mean(np.array(told) == 0) > 0.6


@pytest.mark.parametrize("kind", ["lecture", "screen"])
def test_a_seed_gives_one_film_and_another_seed_another(tmp_path: Path, kind: str):
    truths = [
        render_lecture(tmp_path / f"{k}.mp4", write_video, seed, 0.5, kind, SIZE) for k, seed in enumerate([3, 3, 4])
    ]
    films = [(tmp_path / f"{k}.mp4").read_bytes() for k in range(3)]
    assert truths[0] == truths[1] != truths[2]
    assert films[0] == films[1] != films[2]
    assert json.loads((tmp_path / "0.json").read_text()) == json.loads(json.dumps(truths[0]))
    with av.open(str(tmp_path / "0.mp4")) as film:
        times = [frame.time for frame in film.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(60) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", ["lecture", "screen"])
def test_a_line_is_on_screen_after_its_second_and_not_before(kind: str):
    script, _, _ = _script(5, 300, kind, SIZE, "test")
    checked = 0
    for scene in script:
        if scene.page is None:
            continue
        for _, base in scene.told:
            for mark in range(1, 4):
                span = scene.page.appears(base + mark)
                if span is None or span[1] > scene.end - scene.start - 1:
                    continue
                before, after = scene.page.at(max(0.0, span[0] - 0.2)).copy(), scene.page.at(span[1] + 0.3).copy()
                later = scene.page.at(span[1] + 0.6)
                if span[0] > 0.2:
                    assert np.abs(after.astype(int) - before).max() > 60
                    checked += 1
                mine = [line for line in scene.page.lines if line.mark == base + mark]
                assert all(line.shown(span[1] + 1e-6) == len(line.text) for line in mine)
                assert later.shape == after.shape
    assert checked >= 3


def test_first_appearance_is_what_questions_ask_for():
    import seefar.synthetic.lecture as lecture

    script, said, left_out = _script(8, 3600, "lecture", SIZE, "test")
    truth = lecture._truth(script, said, left_out)
    shown = [page["topic"] for page in truth["pages"]]
    assert len(shown) > len(set(shown))  # some slides come back
    for row in truth["questions"]:
        pages = [page for page in truth["pages"] if page["topic"] == row["topic"]]
        if pages:
            assert pages[0]["start"] <= row["start"] <= row["end"] < pages[0]["end"]
            assert all(row["start"] < page["start"] for page in pages[1:])
    absent = {row["topic"] for row in truth["absent"]}
    assert absent and not absent & ({row["topic"] for row in truth["questions"]} | set(shown))
    spoken = {topic.title for *_, topic, _ in said}
    assert len(spoken) == 4 and not spoken & set(shown)


def test_frames_fit_the_script_and_never_wrap_around():
    script, _, _ = _script(2, 60, "lecture", SIZE, "test")
    drawn = list(frames(script, SIZE, 2, 1.0))
    assert len(drawn) == 60 and drawn[0].shape == (270, 480, 3)
    still = [scene for scene in script if scene.page is not None and scene.camera == "still" and not scene.inset]
    for scene in still:
        k = int(scene.start) + 3
        page = scene.page.at(k - scene.start).astype(int)
        assert np.percentile(np.abs(drawn[k].astype(int) - page), 99) <= 12  # grain, and a pointer at most


def test_a_terminal_scrolls_so_that_its_last_line_is_seen():
    session = 3 * [topic for topic in topics("test") if topic.kind == "term"]
    page, begins = scenes.terminal(session, np.random.default_rng(0), (960, 540), 300.0)
    assert len(begins) == len(session) and page.scroll[-1][1] > 0
    for line in page.lines:
        assert page._visible(line, line.appear) == pytest.approx(line.appear, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1, max_size=20), st.integers(40, 300))
def test_wrapping_keeps_every_word_and_the_width(words: list[str], width: int):
    font = typeface("built-in", 16)
    rows = wrap(" ".join(words), font, width)
    assert " ".join(rows).split() == words
    assert all(font.getlength(row) <= width or " " not in row for row in rows)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="'opera'"):
        render_lecture(tmp_path / "a.mp4", write_video, 1, 1.0, "opera")
    with pytest.raises(ValueError, match=r"0\.1"):
        render_lecture(tmp_path / "a.mp4", write_video, 1, 0.1)
    with pytest.raises(ValueError, match="'train'"):
        render_lecture(tmp_path / "a.mp4", write_video, 1, 1.0, split="train")
