"""The benchmark itself, on sizes that take seconds. No test asserts a time."""

import json
from dataclasses import replace

import pytest

from seefar.evals.bench_layers import LAYERS, run, table
from seefar.evals.race import Probe

SMALL = Probe(copy_mib=1, product=64)


@pytest.fixture(scope="module")
def result():
    layers = {"Mamba": replace(LAYERS["Mamba"], dim=16), "Mamba-2": replace(LAYERS["Mamba-2"], dim=64)}
    return run(threads=1, repeats=1, tokens=40, layers=layers, probe=SMALL)


def test_the_result_is_json_with_every_bar_and_its_verdict(result):
    assert json.loads(json.dumps(result)) == result
    assert [bar["at_least"] for bar in result["bars"]] == [15, 3]
    for bar in result["bars"]:
        assert bar["holds"] is (bar["value"] >= bar["at_least"])


def test_contenders_have_the_same_weights_and_give_the_same(result):
    assert all(part["relative_difference"] < 1e-5 for part in result["layers"].values())


def test_the_work_is_that_of_the_published_layer():
    ours = LAYERS["Mamba-2"].ours(LAYERS["Mamba-2"].make(768))
    projections = 768 * (2 * 1536 + 2 * 128 + 24) + 1536 * 768
    assert LAYERS["Mamba-2"].work(10, ours) == 10 * (
        projections + 4 * (1536 + 256) + 64 * (128 + 1536) + 2 * 1536 * 128
    )


def test_the_table_has_a_row_for_each_layer(result):
    rows = [line.split(" | ")[0] for line in table(result).splitlines()]
    assert "| Mamba" in rows and "| Mamba-2" in rows


def test_no_tokens_are_refused():
    with pytest.raises(ValueError, match=r"tokens must be at least 1.*tokens=0"):
        run(tokens=0)
