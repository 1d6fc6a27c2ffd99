"""A toy run: every contender is timed, the first two compute the same, and the bars are about the peers they name."""

import pytest

from seefar.evals import bench_convs
from seefar.evals.race import Probe

SMALL = Probe(copy_mib=1, product=64)
TOY = {
    "one": bench_convs.Cascade(4, 2, 2, reads=True, peer=bench_convs.PLAIN, at_least=0),
    "two": bench_convs.Cascade(4, 3, 4, reads=False, peer=bench_convs.FOURIER, at_least=1e9),
}


def test_a_toy_run_has_all_figures():
    result = bench_convs.run(1, 1, tokens=64, cascades=TOY, probe=SMALL)
    assert [part["levels"] for part in result["cascades"].values()] == [6, 4]
    for part in result["cascades"].values():
        assert {bench_convs.PLAIN, bench_convs.FOURIER} < set(part["ratios"])
        assert all(each["forward"] > 0 and each["both"] > 0 for each in part["times"].values())
        assert part["limit"]["forward"]["fraction"] > 0
    assert [bar["holds"] for bar in result["bars"]] == [True, False]
    table = bench_convs.table(result)
    assert table.count("seefar without numba") == 2 and "| 0 | yes |" in table


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="tokens=1"):
        bench_convs.run(1, 1, tokens=1)
