"""The reader on real films: right moment, quoted words, not found, true times, and its bill."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from seefar import media
from seefar.media import write_video
from seefar.media.subtitles import Cue, Cues
from seefar.vlm.answer import Model
from seefar.vlm.novelty import Reading
from seefar.vlm.reader import PAUSE, Reader, Script, _likeness, has_words
from seefar.vlm.words import Row

SLIDES = (
    ("Caring for honey bees", "A hive holds one queen", "Mites weaken the colony in autumn"),
    ("Ocean tides", "The moon pulls the water into bulges", "The bay rises sixteen metres"),
    ("Making good coffee", "Grind the beans right before brewing", "Water should be just below boiling"),
)


def slide(lines) -> np.ndarray:
    image = Image.new("RGB", (640, 360), (240, 240, 232))
    pen = ImageDraw.Draw(image)
    for k, line in enumerate(lines):
        pen.text((40, 40 + 80 * k), line, font=ImageFont.load_default(34 if k == 0 else 24), fill=(20, 24, 70))
    return np.asarray(image)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(threads=2)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides at 0, 20 and 40 s, the second one's last line at 30 s, and two subtitle cues; 60 s."""
    folder = tmp_path_factory.mktemp("talk")
    built = [slide(SLIDES[0]), slide(SLIDES[1][:2]), slide(SLIDES[1]), slide(SLIDES[2])]
    frames = (built[(k >= 40) + (k >= 60) + (k >= 80)] for k in range(120))
    path = write_video(folder / "talk.mp4", frames, 2, preset="ultrafast")
    path.with_suffix(".srt").write_text(
        "1\n00:00:12,500 --> 00:00:15,000\nVolcanoes erupt when thick lava traps gas.\n\n"
        "2\n00:00:50,000 --> 00:00:49,000\nbroken\n"
    )
    return path


QUESTIONS = {
    "When does she speak about keeping bees in a hive?": 0.0,
    "Why does the moon make the sea rise and fall?": 20.0,
    "How many metres does the tide in the bay rise?": 30.0,
    "How do I brew a good cup of coffee?": 40.0,
    "Why does a volcano with thick lava erupt?": 12.5,
}
ABSENT = ["When is the French Revolution explained?", "How does a neural network learn?"]


def test_questions_in_other_words_lead_to_the_moment_and_absent_subjects_are_not_found(reader: Reader, talk: Path):
    steps = []
    answers = reader.answer(
        media.open(talk), [*QUESTIONS, *ABSENT], budget=40, progress=lambda *step: steps.append(step)
    )
    for answer, (question, start) in zip(answers, QUESTIONS.items(), strict=False):
        assert answer.question == question and answer.model == "reader"
        assert abs(answer.moments[0].start - start) <= 1.0, (question, answer.text)
        assert answer.moments[0].text in answer.text and answer.moments[0].end >= answer.moments[0].start
        assert all(0.5 <= moment.score <= 1 for moment in answer.moments)
    assert "sixteen metres" in answers[2].text and "00:30" in answers[2].text
    for answer in answers[len(QUESTIONS) :]:
        assert answer.moments == ()
        assert answer.text == (f'Not found: nothing on screen or in the subtitles is close to "{answer.question}"')
    cost = answers[0].cost
    assert cost.frames_seen == 60 and cost.frames_kept == len(answers[0].looked) <= 4
    assert 0 < cost.tokens_kept <= 40 and cost.tokens_seen > cost.tokens_kept
    assert {"subtitles", "watch", "read", "embed", "answer"} <= set(cost.seconds)
    assert steps[-1] == ("read", 60, 60)
    assert any("1 broken subtitle cue" in warning for warning in answers[0].warnings)


def test_what_a_slide_says_is_quoted_whole_and_never_above_the_budget(reader: Reader, talk: Path):
    script = reader.read(media.open(talk))
    whole = reader.reply(script, ["What does the slide on coffee say?"])[0]
    assert "Grind the beans" in whole.moments[0].text and "below boiling" in whole.moments[0].text
    for budget in (1, 3, 7):
        answer = reader.reply(script, ["What does the slide on coffee say?"], budget=budget)[0]
        words = sum(len(moment.text.split()) for moment in answer.moments)
        assert words == answer.cost.tokens_kept <= budget


def test_times_are_true_where_the_frame_rate_varies(reader: Reader, tmp_path: Path):
    seconds = [0.0, 0.1, 0.2, 0.3, 17.3, 17.4, 17.5, 30.0, 41.7, 41.8, 60.0]
    frames = [slide(SLIDES[0])] * 4 + [slide(SLIDES[1])] * 4 + [slide(SLIDES[2])] * 3
    path = write_video(tmp_path / "varies.mp4", frames, 5, seconds=seconds)
    answers = reader.answer(media.open(path), ["Why do the tides follow the moon?", "How do I brew good coffee?"])
    np.testing.assert_allclose([answer.moments[0].start for answer in answers], [17.3, 41.7], atol=1.0)


def test_a_film_without_words_says_so(reader: Reader, tmp_path: Path):
    path = write_video(tmp_path / "blank.mp4", [np.full((120, 160, 3), 90 + k, np.uint8) for k in range(20)], 1)
    assert has_words(media.open(path)) is False
    answer = reader.answer(media.open(path), ["When is coffee made?"])[0]
    assert answer.text.startswith("Not found") and answer.cost.tokens_seen == 0


def test_words_on_screen_or_in_subtitles_are_noticed(talk: Path, tmp_path: Path):
    assert has_words(media.open(talk)) is True
    mute = write_video(tmp_path / "mute.mp4", [slide(SLIDES[0])] * 20, 1)
    assert has_words(media.open(mute)) is True


def test_a_cue_comes_with_the_words_before_it_unless_there_was_a_pause():
    script = Script()
    script.hear(Cues([Cue(0, 2, "Bees."), Cue(2, 4, "They dance."), Cue(5 + PAUSE, 9 + PAUSE, "Tides.")]))
    assert [(page.text, page.before) for page in script.pages] == [
        ("Bees.", ""),
        ("They dance.", "Bees."),
        ("Tides.", ""),
    ]


def test_a_line_read_twice_is_known_by_its_place_and_its_words():
    first = Row("Mites weaken the colony", (0.3, 0.1, 0.35, 0.6), 0.9)
    assert _likeness(Row("Mites weaken the co1ony in", (0.32, 0.12, 0.37, 0.65), 0.9), first) > 0.8
    assert _likeness(Row("Mites weaken the colony in autumn and winter", (0.3, 0.1, 0.35, 0.9), 0.9), first) == 1
    assert _likeness(Row("Mites weaken the colony", (0.5, 0.1, 0.55, 0.6), 0.9), first) == 0
    assert _likeness(Row("A hive holds one queen", (0.3, 0.1, 0.35, 0.6), 0.9), first) < 0.8


class Finder:
    """Gives rows that were prepared, one list for each reading."""

    def __init__(self, *readings: list[Row]) -> None:
        self.readings = list(readings)

    def read(self, frame: np.ndarray, wanted: np.ndarray) -> list[Row]:
        return self.readings.pop(0)


def test_a_page_is_replaced_by_one_that_says_more_but_never_by_one_that_lost_a_line():
    def at(second: float, fresh: float) -> Reading:
        """Strokes everywhere, those below ``fresh`` of the height new to the watch."""
        new = np.zeros((22, 40), bool)
        new[int(22 * fresh) :] = True
        picture = np.full((176, 320), 200, np.uint8)
        return Reading(picture, second, new, np.ones((176, 320), bool), np.zeros((176, 320)), ((second, picture),))

    rows = [Row(text, (0.1 + 0.2 * k, 0.1, 0.16 + 0.2 * k, 0.9), 0.9) for k, text in enumerate(SLIDES[0])]
    finder, grown, scrolled = Finder(rows[:1], rows[1:]), Script(), Script()
    grown.see(at(5, 0), finder)
    grown.see(at(9, 0.25), finder)
    assert [len(page.lines) for page in grown.pages] == [3]
    finder = Finder(rows[:2], [], [rows[2]])
    scrolled.see(at(5, 0), finder)
    scrolled.see(at(9, 0.25), finder)  # the second line has gone, and nothing new was read
    scrolled.see(at(13, 0.45), finder)
    assert [len(page.lines) for page in scrolled.pages] == [2, 2]


def test_what_makes_no_sense_is_refused(reader: Reader, talk: Path):
    assert isinstance(reader, Model)
    with pytest.raises(ValueError, match="'merge'"):
        reader.answer(media.open(talk), ["x"], recipe="merge")
    with pytest.raises(ValueError, match="got 0"):
        reader.answer(media.open(talk), ["x"], budget=0)
    with pytest.raises(ValueError, match="empty"):
        reader.answer(media.open(talk), [" "])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Reader(sure=2)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'seefar\[read\]'"):
        Reader()
