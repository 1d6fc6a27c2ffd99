"""Both harnesses' figures, by hand; on 300 random sets their tables equalled those of the harnesses themselves."""

import json
import random

import pytest

from seefar.evals.formats.longvideobench import Item
from seefar.evals.formats.longvideobench_score import score, submission


def item(name, answer, group=15, category="S2E", video=None, options=("one", "two", "three", "four")):
    return Item(name, video or name, "Which?", tuple(options), answer, group, category, 10.0)


ITEMS = [
    item("a", "A", 15, "S2E", "v"),
    item("b", "B", 15, "T2O", "v"),
    item("c", "C", 600, "S2E"),
    item("d", "D", 3600, "TAA"),
]
SAYS = {"a": "A", "b": "The answer is B.", "c": "Answer: C", "d": "D. four"}


def test_the_styles_read_the_same_answers_differently_and_never_share_a_table():
    lmms, vlm = (score(ITEMS, SAYS, style) for style in ("lmms-eval", "vlmevalkit"))
    assert (lmms.accuracy, vlm.accuracy) == (0.75, 1.0)  # "Answer: C" is an A for lmms-eval
    assert lmms.styles == vlm.styles == {"lmms-eval": 0.75, "vlmevalkit": 1.0}
    assert "the styles differ" in str(lmms) and "style lmms-eval" in str(lmms)
    assert lmms.table == {
        15: {"num": 2, "acc": 1.0},
        "S2E": {"num": 2, "acc": 0.5},
        "T2O": {"num": 1, "acc": 1.0},
        600: {"num": 1, "acc": 0.0},
        3600: {"num": 1, "acc": 1.0},
        "TAA": {"num": 1, "acc": 1.0},
        "Overall": {"num": 8, "acc": 0.75},  # counts each question twice, as lmms-eval does
    }
    assert list(vlm.table) == [15, 60, 600, 3600, "overall"]
    assert vlm.table[15]["overall"] == "1.000" and vlm.table[15]["question_category"]["TAA"] == "nan"


def test_the_overall_figure_is_the_mean_of_the_groups_by_their_size():
    report = score(ITEMS, SAYS)
    sizes = {15: 2, 600: 1, 3600: 1}
    assert (
        report.accuracy == sum(report.by_group[g] * n for g, n in sizes.items()) / 4 == report.table["Overall"]["acc"]
    )


def test_empty_cells_stay_out_of_the_means():
    report = score(ITEMS, SAYS, "vlmevalkit")
    assert set(report.by_group) == {15, 600, 3600} and set(report.by_category) == {"S2E", "T2O", "TAA"}
    assert report.table[60]["overall"] == "nan" and report.table["overall"]["overall"] == "1.000"


def test_an_answer_without_a_letter_is_drawn_in_one_style_and_wrong_in_the_other():
    many = [item(str(n), "A") for n in range(40)]
    says = {str(n): "no idea" for n in range(40)}
    draw = random.Random(0)
    hits = [draw.choice(["A", "B", "C", "D"]) == "A" for _ in many]
    assert score(many, says).accuracy == sum(hits) / 40 > 0
    assert score(many, says, "vlmevalkit").accuracy == 0
    assert score(many, says).unparsed == 40
    assert score(many, says, seed=1).accuracy != score(many, says).accuracy


def test_a_missing_prediction_is_wrong_and_counted_apart():
    report = score(ITEMS, {"a": "A"})
    assert (report.accuracy, report.missing, report.unparsed) == (0.25, 3, 0)


def test_questions_of_one_video_are_one_case_of_the_interval():
    apart = [item(str(n), "A") for n in range(40)]
    together = [item(str(n), "A", video=str(n // 10)) for n in range(40)]
    says = {str(n): "A" if n < 20 else "B" for n in range(40)}
    narrow, wide = (score(items, says).interval for items in (apart, together))
    assert narrow == pytest.approx((0.5 - 1.96 * (10 / 39 / 40) ** 0.5, 0.5 + 1.96 * (10 / 39 / 40) ** 0.5))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    assert score([item("a", "A")], {"a": "A"}).interval == (0.0, 1.0)


def test_the_test_split_is_handed_in_instead_of_scored(tmp_path):
    keyless = [item("x", None), item("y", None)]
    with pytest.raises(ValueError, match=r"2 items have no key.*submission"):
        score(keyless, {"x": "A", "y": "B"})
    path = submission(keyless, {"y": "B", "x": "<think>A or B</think> The answer is A."}, tmp_path / "out.json")
    assert json.loads(path.read_text()) == {"x": "The answer is A.", "y": "B"}


def test_wrong_inputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="lmms-eval, vlmevalkit"):
        score(ITEMS, SAYS, "both")
    with pytest.raises(ValueError, match="no items"):
        score([], {})
    with pytest.raises(ValueError, match="for no question here, such as 'z'"):
        score(ITEMS, SAYS | {"z": "A"})
    with pytest.raises(ValueError, match="1 questions have no prediction, such as 'b'"):
        submission(ITEMS[:2], {"a": "A"}, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
