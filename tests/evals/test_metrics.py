"""Right and wrong, and how sure."""

import pytest
import scipy.stats

from seefar.evals.metrics import clock_time, right, wilson
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
