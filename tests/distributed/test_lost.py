"""A process that is really killed, or really stopped, becomes an error that names it, on every rank, in time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seefar.distributed import RankLost, on_ranks
from seefar.distributed.lost import Bounded

PROGRAM = Path(__file__).with_name("dying_rank.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("what", "limit", "within"), [("kill", 300.0, 10.0), pytest.param("stop", 1.0, 12.0, marks=pytest.mark.slow)]
)
def test_every_survivor_names_the_one_that_was_lost(what, limit, within):
    children, said = [], []
    with subprocess.Popen([sys.executable, str(PROGRAM), what, str(limit)], stdout=subprocess.PIPE, text=True) as run:
        try:
            children = json.loads(run.stdout.readline())
            said = [json.loads(run.stdout.readline()) for _ in range(3)]
        finally:
            for child in [*children, run.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    assert sorted(each["rank"] for each in said) == [0, 2, 3]
    for each in said:
        assert each["lost"] == [1], each
        assert "rank 1 " + ("is gone" if what == "kill" else "has not answered for 1 s") in each["message"]
        assert each["seconds"] < within, each


def test_the_launcher_names_a_killed_process_and_ends_the_others(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import on_a_rank

    began = time.monotonic()
    with pytest.raises(RankLost, match=r"rank 1 of 2 died \(SIGKILL\); the others were ended") as caught:
        on_ranks(2, on_a_rank.die_as, 1)
    assert caught.value.ranks == (1,) and time.monotonic() - began < 250


def test_an_error_that_has_nothing_to_do_with_connections_stays_what_it_is():
    def refuse():
        raise RuntimeError("something else")

    def work(ranks):
        with pytest.raises(RuntimeError, match=r"^something else$") as caught:
            Bounded(refuse, ranks.group, None, 1.0)
        return type(caught.value)

    assert on_ranks(1, work, where="threads") == [RuntimeError]


def test_a_thread_that_fails_is_what_is_raised_and_the_others_lose_it():
    seen = []

    def work(ranks):
        if ranks.rank == 1:
            raise ValueError("only I failed")
        try:
            list(ranks.around(torch.ones(3)))
        except RankLost as error:
            seen.append(error)
            raise

    with pytest.raises(ValueError, match="only I failed"):
        on_ranks(3, work, where="threads", seconds=1000)
    assert len(seen) == 2 and all("is gone" in str(error) for error in seen)
