"""Oracle: attention in one process, float64, by its definition."""

import importlib
from functools import partial
from pathlib import Path

import pytest
import torch

from seefar.distributed import Traffic, distributed_mha, on_ranks
from seefar.distributed.head_blocks import tile_attention, tiles
from seefar.evals.flops import matrix_flops

GRIDS = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (4, 1), (1, 4)]


@pytest.fixture
def rank(monkeypatch):
    """The module with the work of a rank, importable here and in the processes started from here."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("mha_on_a_rank")


@pytest.mark.parametrize(("head_parts", "row_parts"), GRIDS)
def test_every_rank_gets_what_one_process_gives_with_gradients(rank, head_parts, row_parts):
    for causal, sizes in ((False, {"M": 7}), (True, {}), (True, {"M": 14})):
        want = rank.alone(causal, **sizes)
        for each in on_ranks(head_parts * row_parts, rank.tiled, head_parts, row_parts, causal, sizes, where="threads"):
            torch.testing.assert_close(each["tensors"], want, rtol=1e-10, atol=1e-10)


def test_two_real_processes_give_what_threads_give(rank):
    both = [on_ranks(2, rank.tiled, 1, 2, True, where=where) for where in ("processes", "threads")]
    for process, thread in zip(*both, strict=True):
        assert process["traffic"] == thread["traffic"]
        assert all(torch.equal(a, b) for a, b in zip(process["tensors"], thread["tensors"], strict=True))


def test_bytes_are_those_of_the_formula(rank):
    P, sizes = 4, {"H": 4, "Hkv": 4, "N": 8, "M": 8}
    q, k, v = rank.inputs(**sizes).values()
    for each in on_ranks(P, rank.tiled, 2, 2, False, sizes, where="threads"):
        there, back = each["traffic"]
        assert there == Traffic(collectives=1, sent=(P - 1) * 2 * 2 * 4 * 5 * 8)
        assert back == Traffic(collectives=6, sent=2 * (P - 1) * (q.nbytes + k.nbytes + v.nbytes) // P)


def test_each_rank_does_its_share_of_the_arithmetic():
    q = torch.randn(1, 4, 8, 4)
    for head_parts, row_parts in GRIDS:
        parts = head_parts * row_parts
        done = [matrix_flops(partial(tile_attention, q, q, q, tile)) for tile in tiles(4, 8, head_parts, row_parts)]
        assert sum(done) == 2 * 2 * 4 * 8 * 8 * 4 and (parts == 3 or set(done) == {sum(done) // parts})


def test_tiles_cover_every_head_and_query_once():
    seen = torch.zeros(7, 10)
    for tile in tiles(7, 10, 3, 4):
        seen[tile.heads.start : tile.heads.stop, tile.rows.start : tile.rows.stop] += 1
    assert (seen == 1).all()


def test_misfits_are_refused_before_anything_is_sent(rank):
    given = rank.inputs()

    def work(ranks):
        with pytest.raises(ValueError, match="6 heads make 1 to 6 parts and 11 queries 1 to 11, got 7 x 1"):
            distributed_mha(**given, ranks=ranks, head_parts=7, row_parts=1)
        with pytest.raises(ValueError, match="3 x 1 parts are for 3 ranks, here are 2"):
            distributed_mha(**given, ranks=ranks, head_parts=3, row_parts=1)
        return ranks.take()

    assert on_ranks(2, work, where="threads", seconds=20) == [Traffic(), Traffic()]


def test_lengths_that_differ_between_ranks_are_refused_on_all_of_them(rank):
    given = rank.inputs()

    def work(ranks):
        distributed_mha(given["q"][:, :, : 8 + ranks.rank], given["k"], given["v"], ranks, head_parts=1, row_parts=2)

    with pytest.raises(ValueError, match=r"distributed_mha: ranks disagree: .*8.*9"):
        on_ranks(2, work, where="threads", seconds=20)
