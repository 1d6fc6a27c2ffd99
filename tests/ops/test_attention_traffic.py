"""Counts are checked against sums done by hand from the published algorithms, results against the reference backend."""

import math

import pytest
import torch

from seefar.ops.attention import attention
from seefar.ops.attention.traffic import SCHEDULES, SlowMemory, formula, trace


def inputs(N, M=None, d=8, H=2, B=1):
    generator = torch.Generator().manual_seed(N)
    return [torch.randn(B, H, n, d, generator=generator).double() for n in (N, M or N, M or N, N)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rules", [{}, {"causal": True}, {"causal": True, "window": 9}, {"window": 5}, {"scale": 0.2}])
@pytest.mark.parametrize(("N", "M"), [(50, 50), (20, 37), (37, 20), (1, 40)])
def test_schedules_really_compute_attention_and_its_gradients(schedule, rules, N, M):
    q, k, v, do = inputs(N, M, B=2)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    o, lse = attention(*leaves, **rules, return_lse=True, backend="reference")
    wanted = torch.autograd.grad(o, leaves, do)
    found = trace(q, k, v, do, on_chip=150, schedule=schedule, **rules)
    torch.testing.assert_close((found.o, found.lse, found.gradients), (o, lse, wanted), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("on_chip", [100, 200, 333, 512, 1000])
@pytest.mark.parametrize(("N", "M"), [(96, 96), (70, 101)])
def test_every_access_of_the_published_order_is_counted(on_chip, N, M):
    d, heads = 8, 2
    found = trace(*inputs(N, M, d), on_chip=on_chip)
    tiles = math.ceil(M / math.ceil(on_chip / (4 * d)))  # of keys: each makes the queries and their state pass once
    assert found.forward.reads == heads * (2 * M * d + tiles * N * (2 * d + 2))
    assert found.forward.writes == heads * (N * (d + 2) + tiles * N * (d + 2))
    assert found.backward.reads == heads * (2 * M * d + tiles * N * (4 * d + 2))
    assert found.backward.writes == heads * (N * d + 2 * M * d + tiles * N * d)


@pytest.mark.parametrize("on_chip", [4096, 5000, 8192, 12000, 16384])
def test_traffic_follows_the_formula_within_a_tenth(on_chip):
    N, d = 512, 64
    found = trace(*inputs(N, d=d, H=1), on_chip=on_chip)
    want = [(3 + 12 * N * d / on_chip) * N * d, (5 + 20 * N * d / on_chip) * N * d]
    assert formula("fa1", N, N, d, on_chip) == pytest.approx(want)
    assert [found.forward.total, found.backward.total] == pytest.approx(want, rel=0.1)


def test_twice_the_fast_memory_halves_the_traffic_of_tiles_and_not_that_of_whole_matrices():
    given = inputs(256, d=16, H=1)
    small, large = (trace(*given, on_chip=size).total for size in (256, 512))
    assert large / small == pytest.approx(0.5, abs=0.05)
    whole = [trace(*given, on_chip=size, schedule="naive") for size in (256, 512)]
    assert whole[0].total == whole[1].total == sum(formula("naive", 256, 256, 16, 256))


def test_traffic_grows_with_the_square_of_the_length_and_sums_over_heads():
    once, twice = (trace(*inputs(N, d=8, H=1), on_chip=256).forward.total for N in (128, 256))
    assert twice / once == pytest.approx(4, abs=0.2)
    assert trace(*inputs(128, d=8, H=3, B=2), on_chip=256).forward.total == 6 * once


def test_the_fast_memory_never_holds_more_than_a_small_multiple_of_its_size():
    for on_chip in (128, 500, 1000):
        found = trace(*inputs(120), on_chip=on_chip)
        assert found.forward.held <= 2 * on_chip and found.backward.held <= 4 * on_chip


def test_tiles_that_nobody_may_see_move_nothing():
    given = inputs(256, H=1)
    full, causal, near = (
        trace(*given, on_chip=256, **rules).total for rules in ({}, {"causal": True}, {"causal": True, "window": 16})
    )
    assert causal / full == pytest.approx(0.5, abs=0.05)
    assert near < full / 5


def test_what_was_not_written_cannot_be_read():
    memory = SlowMemory(q=torch.arange(6.0).view(1, 1, 3, 2))
    tile = memory.read("q", slice(1, 3))
    tile += 1  # in the fast memory only
    assert memory.arrays["q"][0, 0, 1, 0] == 2 and memory.reads == 4 and memory.writes == 0
    with pytest.raises(KeyError):
        memory.read("o")


def test_misfits_are_refused_with_what_to_do():
    q, k, v, do = inputs(8)
    with pytest.raises(ValueError, match=r"at least 4 d = 32 numbers, got 31"):
        trace(q, k, v, on_chip=31)
    with pytest.raises(ValueError, match=r"repeat shared key heads"):
        trace(q, k[:, :1], v[:, :1], on_chip=64)
    with pytest.raises(ValueError, match=r"gradient of the output, \(1, 2, 8, 8\), got \(1, 2, 7, 8\)"):
        trace(q, k, v, do[:, :, :7], on_chip=64)
    with pytest.raises(ValueError, match=r"unknown schedule 'fa9', expected one of \['fa1', 'naive'\]"):
        trace(q, k, v, on_chip=64, schedule="fa9")
    with pytest.raises(ValueError, match=r"unknown schedule 'fa9'"):
        formula("fa9", 8, 8, 8, 64)
