"""The reading benchmark: what counts as right, what calibration finds, and a whole run in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seefar.evals import read


def test_a_moment_counts_within_two_seconds_of_the_words_coming_into_view():
    row = {"start": 10.0, "end": 14.0}
    assert [read._near(second, row) for second in (7.9, 8.0, 12.0, 16.0, 16.1)] == [False, True, True, True, False]


def test_shares_come_with_wilson_intervals():
    from scipy.stats import binomtest

    for good, of in [(19, 20), (0, 10), (147, 155)]:
        interval = binomtest(good, of).proportion_ci(0.95, method="wilson")
        share = read._share(good, of)
        np.testing.assert_allclose([share["low"], share["high"]], [interval.low, interval.high], atol=1e-4)


def test_calibration_weighs_what_tells_present_from_absent():
    rng = np.random.default_rng(0)
    cases = []
    for k in range(200):
        features = np.stack([rng.uniform(0.3, 0.5, 12), np.zeros(12)], 1)
        known = np.zeros(12, bool)
        if k % 2:
            place = rng.integers(12)
            features[place, 1] = 0.8  # only equal words say which page it is
            known[place] = True
            cases.append((features, known))
        else:
            cases.append((features, None))
    found = read.fit(cases)
    assert found["LEXICAL"] >= 0.2 and found["lesser share right"] > 0.98
    threshold = -found["FOUND offset"] / found["FOUND slope"]
    assert 0.49 < threshold < 0.3 + 0.8 * found["LEXICAL"] + 0.2 and found["FOUND slope"] > 0


@pytest.mark.slow
def test_a_small_run_is_right_and_its_controls_fail(tmp_path: Path):
    result = read.run((("lecture", 7), ("screen", 8)), minutes=4, folder=tmp_path)
    json.dumps(result)
    assert result["total"]["moment"]["share"] >= 0.7
    assert result["verdicts"]["controls fail"] and result["controls"]["words blurred away"] <= 0.05
    assert all(row["frames"] == 240 for row in result["films"])
    text = read.table(result)
    assert "moment" in text and "controls" in text
