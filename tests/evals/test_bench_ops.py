"""The benchmark itself, on sizes that take seconds. No test asserts a time."""

import json

import pytest
import torch

from seefar.evals import bench_ops
from seefar.evals.bench_ops import Sizes
from seefar.evals.race import Probe

SMALL = Sizes(
    tokens=70,
    channels=32,
    states=4,
    scan_channels=8,
    attention_tokens=(40,),
    window=8,
    probe=Probe(copy_mib=1, product=64),
)


@pytest.fixture(scope="module")
def result():
    return bench_ops.run(threads=1, repeats=1, sizes=SMALL)


def test_the_result_is_json_with_every_bar_and_its_verdict(result):
    assert json.loads(json.dumps(result)) == result
    assert len(result["bars"]) == 5
    for bar in result["bars"]:
        wanted = bar["value"] >= bar["at_least"] if "at_least" in bar else bar["value"] <= bar["at_most"]
        assert bar["holds"] is wanted
    assert [bar.get("at_least", bar.get("at_most")) for bar in result["bars"]] == [15, 20, 12, 0.25, 1e-5]


def test_every_fraction_is_of_the_bound_that_takes_longer(result):
    for part in (result["selective_scan"], result["linear_scan"], *result["attention"][0]):
        for key, limit in part["limit"].items():
            bounds = {"bytes": limit["bytes_bound_seconds"], "arithmetic": limit["arithmetic_bound_seconds"]}
            assert limit["binding"] == max(bounds, key=bounds.get)
            assert limit["fraction"] == pytest.approx(max(bounds.values()) / part["times"]["seefar"][key])


def test_errors_are_those_of_float32_and_every_gradient_is_among_them(result):
    errors = result["selective_scan"]["relative_error"]
    assert set(errors) == {"y", "h_last", "du", "ddt", "dA", "dB", "dC", "dD"}
    assert all(1e-9 < error < 1e-5 for error in errors.values())


def test_contenders_compute_the_same():
    inputs = bench_ops._scan_inputs(SMALL)
    wanted = bench_ops._ours(*inputs)
    torch.testing.assert_close(bench_ops._mambapy(*inputs), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bench_ops._transformers(*inputs), wanted, rtol=1e-4, atol=1e-5)
    layer = bench_ops._mixers(SMALL)
    x = torch.randn(1, 70, 16)
    outs = [mixer(x) for mixer in layer.values()]
    torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_peaks_are_what_a_pass_adds_to_a_process(result):
    peaks = result["selective_scan"]["peak_bytes"]
    states = 4096 * 64 * 16 * 4
    peak = bench_ops._peak_in_new_process("mambapy parallel scan", Sizes(tokens=4096, channels=64, states=16), 1)
    assert 3 * states < peak["bytes"] < 40 * states  # mambapy keeps several tensors with one number a state
    assert set(peaks) == {"seefar", "mambapy parallel scan"}


def test_the_table_shows_every_contender(result):
    text = bench_ops.table(result)
    for name in ("seefar", "mambapy parallel scan", "transformers scan", "torch SDPA", "seefar tiled"):
        assert f"| {name} |" in text
    assert text.count("| yes |") + text.count("| no |") == 5


def test_threads_are_given_back_and_nonsense_is_refused(result):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="at least 1, got 0 and 5"):
        bench_ops.run(threads=0)
    assert torch.get_num_threads() == before
