"""The benchmark itself, on sizes that take a second. No test asserts a time."""

import json

import pytest

from seefar.evals import bench_forms
from seefar.evals.bench_forms import FormSizes
from seefar.evals.race import Probe

SMALL = FormSizes(widths=(4,), spread=(1.0, 64.0), far=512, near=(64, 256), heads=1, width=8)


@pytest.fixture(scope="module")
def result():
    return bench_forms.run(threads=1, repeats=1, sizes=SMALL, probe=Probe(copy_mib=1, product=64))


def test_the_result_is_json_with_every_bar_and_its_verdict(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert len(result["bars"]) == 3
    for bar in result["bars"]:
        assert bar["holds"] is (bar["at_least"] <= bar["value"] <= bar.get("at_most", float("inf")))


def test_the_table_names_every_bar_and_says_that_softmax_is_extrapolated(result):
    text = bench_forms.table(result)
    assert all(bar["name"] in text for bar in result["bars"])
    assert "measured up to 256 tokens" in text


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="threads and repeats"):
        bench_forms.run(repeats=0)
