"""pico: budgets and bookkeeping with any weights, and with the shipped ones that it answers."""

import pytest
import torch

from seefar import media
from seefar.evals.metrics import right
from seefar.synthetic.film import render_film
from seefar.synthetic.questions import vocabulary
from seefar.vlm.eyes import WEIGHTS
from seefar.vlm.pico import PER_FRAME, RECIPES, Pico
from seefar.vlm.pointing import Told
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText, Narrator

QUESTIONS = ["When does the red star appear?", "Is there a blue ring?"]


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(1)
    words = Words(vocabulary())
    return Pico(FrameText(len(words)), Narrator(len(words)), words)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    truth = render_film(path, media.write_video, seed=21, minutes=4, rate=2.0)
    return path, truth


def ask(model, film, questions=QUESTIONS, **options):
    with media.open(film[0]) as video:
        return model.answer(video, questions, **options)


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != "blind"])
@pytest.mark.parametrize("budget", [28, 100, 555])
def test_no_recipe_goes_above_its_budget_and_the_bill_adds_up(untrained, film, recipe, budget):
    for answer in ask(untrained, film, recipe=recipe, budget=budget):
        per_frame = 28 if recipe == "uniform" else PER_FRAME
        assert 0 < answer.cost.tokens_kept <= budget
        assert answer.cost.tokens_kept == answer.cost.frames_kept * per_frame == len(answer.looked) * per_frame
        assert answer.cost.tokens_seen == answer.cost.frames_seen * 28
        assert list(answer.looked) == sorted(answer.looked) and answer.looked[-1] <= 240
        planned = untrained.plan(240.0, budget=budget, recipe=recipe)
        assert answer.cost.frames_seen == planned.frames and answer.cost.tokens_kept <= planned.visual_tokens


def test_questions_asked_together_are_answered_as_if_alone(untrained, film):
    together = ask(untrained, film)
    alone = [ask(untrained, film, [question])[0] for question in QUESTIONS]
    assert [(a.text, a.moments, a.looked) for a in together] == [(a.text, a.moments, a.looked) for a in alone]


def test_saved_and_loaded_it_is_the_same(untrained, film, tmp_path):
    untrained.save(tmp_path / "pico.safetensors")
    again = Pico.load(tmp_path / "pico.safetensors")
    assert ask(again, film)[0].text == ask(untrained, film)[0].text and again.words.all == untrained.words.all


@pytest.mark.parametrize("points", [[1612.0, 1611.0], [1612.0], [1612.0, 1612.0]])
def test_no_stay_lasts_less_than_nothing(untrained, points):
    told = Told([untrained.words.index["<span>"]], [(0, 1.0)] * len(points), 1.0)
    said = untrained._phrase(told, points)
    assert said.startswith("I can't tell how long; it is seen at 26:52") and "seconds" not in said
    assert untrained._phrase(told, [1611.0, 1620.0]) == "9 seconds, from 26:51 to 27:00."


def test_its_limits_and_unknown_words_are_said(untrained, film):
    (answer,) = ask(untrained, film, ["When does the lecturer draw?"])
    assert any("not the real one" in warning for warning in answer.warnings)
    assert any("lecturer" in warning and "draw" in warning and "when" not in warning for warning in answer.warnings)


def test_a_film_of_another_shape_and_an_empty_question_are_no_trouble(untrained, tmp_path):
    frames = torch.zeros(12, 200, 120, 3, dtype=torch.uint8).numpy()
    media.write_video(tmp_path / "tall.mp4", iter(frames), 2.0)
    assert ask(untrained, [tmp_path / "tall.mp4"], [""])[0].cost.frames_seen == 6


@pytest.mark.parametrize(
    ("options", "says"),
    [({"recipe": "magic"}, "relevance, uniform"), ({"budget": 2}, "Smallest for pico with relevance: 3")],
)
def test_what_cannot_be_is_refused_with_what_can(untrained, film, options, says):
    with pytest.raises(ValueError, match=says):
        ask(untrained, film, **options)


def test_missing_weights_say_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="make pico"):
        Pico.load(tmp_path / "none.safetensors")


def test_the_shipped_weights_are_small():
    assert WEIGHTS.stat().st_size <= 25e6


def test_the_shipped_model_answers_from_what_it_saw_and_not_from_the_question(film):
    model, asked = Pico.load(), film[1]["questions"]
    share = {}
    for recipe in ("relevance", "blind"):
        answers = ask(model, film, [q["question"] for q in asked], recipe=recipe)
        share[recipe] = sum(right(q["kind"], q["answer"], a) for q, a in zip(asked, answers, strict=True)) / len(asked)
    assert share["relevance"] >= 0.8 and share["blind"] <= 0.4, share


def test_the_shipped_model_points_at_the_evidence(film):
    model = Pico.load()
    asked = [q for q in film[1]["questions"] if q["spans"]]
    hits = 0
    for question, answer in zip(asked, ask(model, film, [q["question"] for q in asked]), strict=True):
        hits += any(s - 2 <= m.start <= e + 2 for m in answer.moments for s, e in question["spans"])
    assert hits >= 0.8 * len(asked)
