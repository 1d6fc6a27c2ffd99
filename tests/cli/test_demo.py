"""The demo: films are rendered once, questions are of every kind, and a broken model is noticed."""

import json
import re

import pytest
from typer.testing import CliRunner

from seefar.cli import app, demo
from seefar.vlm.answer import Answer, Cost, Moment


def test_a_film_is_rendered_once_and_again_only_when_it_is_another(tmp_path):
    calls = []

    def render(path, *, seed, minutes, progress):
        calls.append((seed, minutes))
        truth = {"seed": seed, "seconds": minutes * 60, "questions": []}
        path.write_bytes(b"film")
        path.with_suffix(".json").write_text(json.dumps(truth))
        return truth

    film = tmp_path / "film.mp4"
    first = demo.rendered(film, render, seed=1, minutes=2)
    assert demo.rendered(film, render, seed=1, minutes=2) == first
    assert calls == [(1, 2)]
    demo.rendered(film, render, seed=1, minutes=3)
    demo.rendered(film, render, seed=2, minutes=3)
    film.unlink()
    demo.rendered(film, render, seed=2, minutes=3)
    assert calls == [(1, 2), (1, 3), (2, 3), (2, 3)]


def test_one_question_of_each_kind_is_asked_and_none_about_nothing():
    rows = [
        {"kind": kind, "question": f"{kind} {n}", "spans": [] if n == 0 else [(1, 2)]}
        for n in range(3)
        for kind in demo.KINDS
    ]
    assert [row["question"] for row in demo.pick(rows)] == [f"{kind} 1" for kind in demo.KINDS]


def test_without_its_extras_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "NEEDS", (*demo.NEEDS, "package_of_nowhere"))
    done = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path / "demo")])
    assert done.exit_code == 2
    assert done.stderr.strip() == "seefar demo needs package_of_nowhere: pip install 'seefar[demo]'"
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("film", "lecture", "code"), [(1.0, 1.0, 0), (0.5, 0.67, 0), (0.4, 1.0, 1), (1.0, 0.33, 1)])
def test_a_wrong_answer_is_no_fault_and_mostly_wrong_answers_are(tmp_path, monkeypatch, film, lecture, code):
    monkeypatch.setattr(demo, "_film", lambda *words: film)
    monkeypatch.setattr(demo, "_lecture", lambda *words: lecture)
    done = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path / "demo")])
    assert done.exit_code == code
    assert ("seefar doctor" in done.stdout) == bool(code)


@pytest.mark.parametrize(
    ("start", "good"), [(97.9, False), (98.0, True), (110.0, True), (122.0, True), (122.1, False), (None, False)]
)
def test_a_moment_is_right_within_two_seconds_of_the_words(start, good):
    moments = () if start is None else (Moment(start, start + 60, 0.9), Moment(100, 120, 0.2))
    given = Answer("", moments, Cost(1, 1, 1, 1, {}, 1), "reader")
    assert demo.found({"question": "?", "start": 100.0, "end": 120.0}, given) == good
    assert demo.found({"question": "?"}, given) == (start is None)


@pytest.mark.slow
def test_three_minutes_of_it_leave_every_picture(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--minutes", "3", "--folder", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code in (0, 1), done.output
    assert re.search(r"Right: \d of \d", done.stdout)
    assert "not the real one" in done.stdout
    for name in (
        "film.mp4",
        "film.json",
        "report.html",
        "lecture.mp4",
        "lecture.json",
        "lecture.html",
        "storyboard.png",
    ):
        assert (tmp_path / name).stat().st_size > 1000, name
