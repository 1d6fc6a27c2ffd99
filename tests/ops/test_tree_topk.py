"""The search keeps what its definition keeps, counts what it costs, and misses what it must miss."""

import math

import pytest
import torch

from seefar.ops.linear_scan import linear_scan
from seefar.ops.tree_topk import BACKENDS, rounds, tree_topk

CASES = [(1, 41, (1, 2), 3), (7, 40, (4, 2), 5), (9, 64, (3, 4), 4), (70, 200, (16, 3), 4), (3, 50, (1, 1), 8)]


def inputs(N, M, H=4, Hkv=2, B=2, d=8):
    generator = torch.Generator().manual_seed(N + M)
    return torch.randn(B, H, N, d, generator=generator).double(), torch.randn(
        B, Hkv, M, d, generator=generator
    ).double()


def spans_of(N, M, block):
    generator = torch.Generator().manual_seed(N)
    rows, columns = -(-N // block[0]), -(-M // block[1])
    spans = torch.randint(columns + 1, (rows, 2), generator=generator).sort(1).values
    spans[0] = torch.tensor([0, columns])
    return spans


@pytest.mark.parametrize(("N", "M", "block", "count"), CASES)
def test_backends_keep_the_same_blocks(N, M, block, count):
    q, k = inputs(N, M)
    spans = spans_of(N, M, block)
    want = tree_topk(q, k, spans, count=count, block=block, backend="reference")
    for name in BACKENDS:
        if BACKENDS[name].cannot_run(q, k, spans) is None:
            got = tree_topk(q, k, spans, count=count, block=block, backend=name)
            assert torch.equal(got, want), name
            halves = tree_topk(q.float(), k.float(), spans, count=count, block=block, backend=name)
            assert (halves == want).double().mean() > 0.98


@pytest.mark.parametrize("name", BACKENDS)
def test_as_many_are_kept_as_asked_for_rising_once_each_and_inside_their_span(name):
    block = (1, 2) if name == "numba" else (8, 2)
    q, k = inputs(32, 400)
    rows = 32 // block[0]
    spans = torch.stack([torch.full((rows,), 3), torch.linspace(3, 200, rows).long()], 1)
    found = tree_topk(q, k, spans, count=16, block=block, backend=name)
    for row, (first, stop) in enumerate(spans.tolist()):
        size = min(16, stop - first)
        some, rest = found[:, :, row, :size], found[:, :, row, size:]
        assert (rest == -1).all() and (some.diff(dim=-1) > 0).all()
        assert size == 0 or (some.min() >= first and some.max() < stop)
        if stop - first <= 16:
            assert torch.equal(some, torch.arange(first, stop).expand_as(some))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("best", [0, 37, 99, 127])
def test_scores_that_rise_to_one_place_and_fall_lead_to_it_from_either_side(name, best):
    height = -(torch.arange(256.0) // 2 - best).abs().view(1, 1, 256, 1)
    found = tree_topk(torch.ones(1, 1, 1, 1), height, torch.tensor([[0, 128]]), count=3, block=(1, 2), backend=name)
    assert best in found


def test_the_dot_products_are_those_of_the_formula(monkeypatch):
    counted = []

    def bmm(a, b, product=torch.bmm):
        counted.append(a.shape[0] * a.shape[1] * b.shape[2])
        return product(a, b)

    monkeypatch.setattr(torch, "bmm", bmm)
    q, k = inputs(32, 4096, H=2, Hkv=2, B=1)
    tree_topk(q, k, torch.tensor([[0, 2048]]), count=64, block=(32, 2), backend="batched")
    assert rounds(2048, 64) == 5 == math.log2(2048 / 64)
    assert sum(counted) == 2 * 32 * 2 * 64 * (1 + 5)  # heads, queries, keys of a block, groups, rounds
    assert [rounds(n, 64) for n in (1, 64, 65, 128, 129)] == [0, 0, 1, 1, 2]


def test_neighbours_that_score_alike_are_found_and_single_keys_that_stand_out_are_not():
    generator, heads, M, d = torch.Generator().manual_seed(0), 4, 4096, 64
    noise = torch.randn(heads, M, d, generator=generator).double()
    smooth = linear_scan(torch.full_like(noise, 0.98), noise * math.sqrt(1 - 0.98**2))
    q = torch.randn(1, heads, 1, d, generator=generator).double() * 3
    held = {}
    for name, keys in {"smooth": smooth, "noise": noise}.items():
        weights = (q @ keys[None].mT / d**0.5).softmax(-1)[0, :, 0].view(heads, M // 2, 2).sum(-1)
        found = tree_topk(q, keys[None], torch.tensor([[0, M // 2]]), count=256, block=(1, 2))[0, :, 0]
        held[name] = float(weights.gather(1, found).sum(1).mean() / weights.topk(256).values.sum(1).mean())
    assert held["smooth"] >= 0.97 and held["noise"] <= 0.6, held


def test_misfits_are_refused_with_what_to_do():
    q, k = inputs(6, 20)
    good = torch.tensor([[0, 5], [0, 10]])
    with pytest.raises(ValueError, match=r"20 keys are 10 blocks of 2; got spans from 0 to 11"):
        tree_topk(q, k, good + torch.tensor([0, 1]), count=2, block=(3, 2))
    with pytest.raises(ValueError, match=r"spans must be \(2, 2\) int64, got \(1, 2\)"):
        tree_topk(q, k, good[:1], count=2, block=(3, 2))
    with pytest.raises(ValueError, match="at least 1, got count=0"):
        tree_topk(q, k, good, count=0, block=(3, 2))
    with pytest.raises(ValueError, match="4 query heads cannot share 3 key heads"):
        tree_topk(q, torch.ones(2, 3, 20, 8).double(), good, count=2, block=(3, 2))
    with pytest.raises(RuntimeError, match="needs a single query"):
        tree_topk(q, k, good, count=2, block=(3, 2), backend="numba")
