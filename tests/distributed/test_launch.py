"""Work runs on every rank, and what goes wrong there is told here. (Processes that go right: test_state_gather.py.)"""

import importlib
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

from seefar.distributed import on_ranks


def test_results_come_by_rank_with_the_arguments_given():
    assert on_ranks(3, lambda ranks, x: (ranks.rank, ranks.world, x), "x", where="threads") == [
        (rank, 3, "x") for rank in range(3)
    ]


def test_an_error_on_a_rank_is_raised_here(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    fail = importlib.import_module("on_a_rank").fail
    with pytest.raises(ValueError, match=r"rank \d of 2 has had enough"):
        on_ranks(2, fail, where="threads")
    with pytest.raises(ProcessRaisedException, match="rank 0 of 1 has had enough"):
        on_ranks(1, fail)


def test_one_rank_that_fails_ends_the_wait_of_the_others_at_once():
    def work(ranks):
        if ranks.rank == 1:
            raise ValueError("only I failed")
        ranks.all_gather(torch.ones(3)).wait()

    with pytest.raises(ValueError, match="only I failed"):
        on_ranks(3, work, where="threads", seconds=1000)


def test_misfits_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="at least one rank"):
        on_ranks(0, print)
    with pytest.raises(ValueError, match="'processes' or 'threads', got 'cloud'"):
        on_ranks(2, print, where="cloud")
