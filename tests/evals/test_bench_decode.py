"""The benchmark itself, on sizes that take a moment. No test asserts a time."""

import json

import pytest

from seefar.evals import bench_decode
from seefar.evals.race import Probe
from seefar.hf import HiP


def test_the_result_is_json_with_its_bar_and_a_row_for_each_contender():
    probe = Probe(copy_mib=1, product=64)
    result = bench_decode.run(1, 1, lengths=(1200,), heads=1, width=8, tokens=2, probe=probe)
    assert json.loads(json.dumps(result)) == result
    bar = result["bars"][0]
    assert bar["holds"] is (bar["value"] >= 5 == bar["at_least"])
    assert bar["value"] == result["seconds"]["torch SDPA"]["1200"] / result["seconds"]["seefar HiP"]["1200"]
    text = bench_decode.table(result)
    assert text.count("\n| ") == 5 and "| seefar HiP |" in text and "behind 1200 keys" in text


def test_the_keys_that_must_be_read_are_counted():
    hip = HiP(keep=8, block=(32, 2), window=6, sinks=2)
    assert bench_decode._keys_read(hip, 16, 1) == 32
    assert bench_decode._keys_read(hip, 8 + 64, 4) == 2 * 16 + 8 * (1 + 3) / 4  # 32 blocks in 4 groups: three rounds


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0 and 5"):
        bench_decode.run(threads=0)
