"""The ingest bench on a film of seconds: the shape of its result, not its figures."""

import json

import pytest

from seefar.evals.bench_ingest import _film, _peak, run, table


@pytest.mark.slow
def test_a_small_run_gives_a_result_that_survives_json_and_a_table(tmp_path):
    result = run(minutes=0.1, folder=tmp_path)
    assert json.loads(json.dumps(result)) == result
    given = {row["reading"]: row["frames given"] for row in result["rows"]}
    assert given == {"plain": 144, "plain, converted": 144, "every frame": 144, "Fps(1)": 6, "Uniform(64)": 64}
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert len(result["bars"]) == 4 and any("dense at most 1.15 of plain" in name for name in result["bars"])
    assert all(bar["holds"] == (bar["measured"] <= bar["allowed"]) for bar in result["bars"].values())
    text = table(result)
    assert text.count("\n| ") == 2 + 5 + 4 and "Fps(1)" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ingest-0.01667.mp4", "ingest-0.1.mp4"]


@pytest.mark.slow
def test_the_peak_is_that_of_the_reading_and_not_of_the_process_that_asks(tmp_path):
    film = _film(tmp_path, 0.02)
    before = _peak(film)
    ballast = bytearray(b"x") * 700_000_000
    after = _peak(film)
    assert len(ballast) and abs(after - before) < 0.1 * before
