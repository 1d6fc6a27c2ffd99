"""Right and wrong, and how sure."""

import pytest
import scipy.stats

from seefar.evals.metrics import choice_letter, clock_time, right, wilson, without_reasoning
from seefar.vlm.answer import Answer, Cost

BILL = Cost(0, 0, 0, 0, {}, 0)


def says(text):
    return Answer(text, (), BILL, "test")


@pytest.mark.parametrize(
    ("kind", "truth", "text", "good"),
    [
        ("when", "725.40", "At 12:07.", True),
        ("when", "725.40", "At 12:08.", False),
        ("when", "3725.4", "At 1:02:05.4.", True),
        ("when", "5.0", "I can't tell.", False),
        ("needle", "0.00", "At 00:00.", True),
        ("duration", "15.10", "14 seconds, from 10:02 to 10:16.", True),
        ("duration", "15.10", "12 seconds, from 10:02 to 10:14.", False),
        ("duration", "15.10", "At 00:15.", False),
        ("number", "7", "7 (at 12:03).", True),
        ("number", "7", "Seven.", True),
        ("number", "1", "7 (at 12:01).", False),
        ("count", "2", "2 (at 00:02, 00:09).", True),
        ("exists", "yes", "Yes (at 12:03).", True),
        ("exists", "no", "Yes, there is no doubt.", False),
        ("order", "red star", "Red star (at 00:10).", True),
        ("order", "red star", "The red star.", True),
        ("order", "red star", "Blue star, then red star.", False),
        ("before/after", "before", "After (not before).", False),
        ("attribute", "cyan", "Cyan.", True),
        ("attribute", "cyan", "", False),
    ],
)
def test_only_the_truth_at_its_place_is_right(kind, truth, text, good):
    assert right(kind, truth, says(text)) is good


def test_clock_times_are_read_in_all_their_forms():
    assert [clock_time(t) for t in ("at 01:05", "1:02:05.5", "59:59", "no time")] == [65, 3725.5, 3599, None]


def test_intervals_are_scipys():
    for hits, total in ((0, 5), (5, 5), (19, 20), (50, 100)):
        want = scipy.stats.binomtest(hits, total).proportion_ci(method="wilson")
        assert wilson(hits, total) == pytest.approx((want.low, want.high), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "lmms", "vlmevalkit"),
    [  # made by running the two harnesses
        ("C", "C", "C"),
        ("C. red ball", "C", "C"),
        ("(C)", "C", "C"),
        ("Answer: C", "A", "C"),
        ("Best option: C", "C", "B"),
        ("The best option is C", "C", "C"),
        ("**Answer:** C", "A", "C"),
        ("Based on the video, the answer is C.", "B", "B"),
        ("A red ball, so (C)", "A", "A"),
        ("I think B is wrong; the answer is C", "B", "B"),
        ("c", None, None),
        ("", None, None),
        ("F", None, None),
        ("<think>A or B?</think>C", "C", "A"),
        ("Failed to obtain answer via API.", "A", "A"),
    ],
)
def test_letters_are_read_as_each_harness_reads_them(text, lmms, vlmevalkit):
    assert choice_letter(text, "longvideobench/lmms-eval") == lmms
    assert choice_letter(text, "longvideobench/vlmevalkit") == vlmevalkit


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="longvideobench/lmms-eval"):
        choice_letter("A", "mine")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>long</think> C ", "C"),
        ("it began before</think>C", "C"),
        ("<think>a<think>b</think>c</think>C", "C"),
        ("<analysis>x\ny</analysis>A<think>z</think>", "A"),
        ("<think>never closed", "<think>never closed"),
        ("C", "C"),
    ],
)
def test_reasoning_is_dropped_and_the_answer_kept(text, left):
    assert without_reasoning(text) == left
