"""A slow link brings everything, late, and only what is waited for counts as waiting."""

import time

import pytest
import torch

from seefar.distributed import Traffic, on_ranks
from seefar.evals.slow_link import SlowLink, hidden


def test_messages_arrive_whole_one_after_another_and_no_sooner_than_the_link_allows():
    x = torch.arange(1000.0)

    def work(ranks):
        link = SlowLink(ranks, 4000 / 0.1)
        began = time.perf_counter()
        first, second = link.turn(x + ranks.rank), link.turn(x * 2)
        got = first.wait(), second.wait()
        took = time.perf_counter() - began
        assert torch.equal(got[0], x + 1 - ranks.rank) and torch.equal(got[1], x * 2)
        assert took >= 0.2 and link.under_way == pytest.approx(0.2) and 0 < link.waited <= 0.2
        return link.take()

    assert on_ranks(2, work, where="threads") == [Traffic(messages=2, sent=8000)] * 2


def test_what_is_computed_meanwhile_is_hidden_unless_it_waits_at_once():
    def work(ranks):
        def build(on):
            def attend(q):
                for _, _ in on.around(q):
                    time.sleep(0.02)
                return q

            return attend

        x = torch.ones(1000)
        return [hidden(ranks, build, {"q": x}, ahead=ahead) for ahead in (True, False)]

    for ahead, at_once in on_ranks(3, work, where="threads"):
        assert ahead.share > 0.5 > 2 * at_once.share >= 0
        assert ahead.seconds < at_once.seconds


def test_one_rank_has_nothing_to_hide():
    def work(ranks):
        with pytest.raises(ValueError, match="nothing went around a ring of 1"):
            hidden(ranks, lambda on: lambda q: q, {"q": torch.ones(2)}, ahead=True)

    on_ranks(1, work, where="threads")
