"""Oracle: attention in one process, float64, by its definition. (Real processes: test_ring_attention.py.)"""

import importlib
from pathlib import Path

import pytest
import torch

from seefar.distributed import Contiguous, Traffic, collect, on_ranks, ring_self_attention


@pytest.fixture
def rank(monkeypatch):
    """The module with the work of a rank."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("ring_on_a_rank")


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_give_what_one_process_gives_with_gradients(rank, world):
    for causal in (False, True):
        for packed in (False, True):
            want = rank.alone(24, causal=causal, packed=packed)
            results = on_ranks(world, rank.two_passes, 24, causal, packed, where="threads")
            got = [collect(each, Contiguous()) for each in zip(*(r["tensors"] for r in results), strict=True)]
            torch.testing.assert_close(got, list(want), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("world", [2, 5])
def test_bytes_are_those_of_the_formula(rank, world):
    n, d, Hkv, B, size = 3, 6, 2, 2, 8
    around = (world - 1) * B * n * Hkv * 2 * d * size
    for each in on_ranks(world, rank.two_passes, world * n, False, False, where="threads"):
        turns = 2 * (world - 1)
        assert each["traffic"] == (Traffic(0, turns, around), Traffic(2, turns, 2 * around))


def test_a_rank_keeps_its_share_of_the_scores_and_nothing_else_of_the_length_of_all(rank):
    B, H, n = 2, 4, 6

    def work(ranks):
        given = {key: x.requires_grad_() for key, x in rank.inputs(n).items()}
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(tuple(x.shape)), x)[1], lambda x: x):
            ring_self_attention(**given, ranks=ranks)
        return kept

    for world in (1, 2, 4):
        for kept in on_ranks(world, work, where="threads"):
            large = [shape for shape in kept if shape[-1] == world * n and len(shape) == 5]
            assert large == [(B, 2, H // 2, n, world * n)]
            assert len(kept) == 5 and all(shape[2] == n for shape in kept if shape not in large)


def test_misfits_are_refused_before_anything_is_sent(rank):
    given = rank.inputs(6)

    def work(ranks):
        with pytest.raises(ValueError, match="as many queries as keys, and at least one, got 5 and 6"):
            ring_self_attention(given["q"][:, :, :5], given["k"], given["v"], ranks)
        with pytest.raises(ValueError, match=r"this rank's tokens, \(2, 6\) int64, got \(2, 12\)"):
            ring_self_attention(**given, ranks=ranks, segments=torch.zeros(2, 12, dtype=torch.int64))
        return ranks.take()

    assert on_ranks(2, work, where="threads", seconds=20) == [Traffic(), Traffic()]
    with pytest.raises(ValueError, match=r"ring_self_attention: ranks disagree: rank 0 .*float64.*; rank 1 .*float32"):
        on_ranks(
            2, lambda r: ring_self_attention(*(x.float() if r.rank else x for x in given.values()), r), where="threads"
        )
