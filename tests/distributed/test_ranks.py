"""Every operation gives every rank its piece, and every byte is counted once."""

import pytest
import torch

from seefar.distributed import Ranks, Traffic, on_ranks


def threads(world, work):
    return on_ranks(world, work, where="threads", seconds=20)


def test_all_gather_gives_everyone_everything_in_order():
    def work(ranks):
        x = torch.arange(6.0).view(3, 2).mT[:, ranks.rank]  # strided
        return ranks.all_gather(x).wait(), ranks.take()

    for got, traffic in threads(3, work):
        assert torch.equal(got, torch.arange(6.0).view(3, 2))
        assert traffic == Traffic(collectives=1, sent=2 * 2 * 4)


def test_reduce_scatter_sums_what_all_have_for_a_rank():
    def work(ranks):
        with pytest.raises(ValueError, match="one piece for each of 3 ranks"):
            ranks.reduce_scatter(torch.ones(2, 4))
        return ranks.reduce_scatter(torch.arange(12.0).view(3, 4) * 10**ranks.rank).wait(), ranks.take()

    for rank, (got, traffic) in enumerate(threads(3, work)):
        assert torch.equal(got, torch.arange(12.0).view(3, 4)[rank] * 111)
        assert traffic == Traffic(collectives=1, sent=2 * 4 * 4)


def test_send_and_receive_meet():
    def work(ranks):
        if ranks.rank == 0:
            ranks.send(torch.arange(4).view(2, 2).mT, 1).wait()
            return ranks.take()
        return ranks.receive(torch.empty(2, 2, dtype=torch.int64), 0).wait()

    traffic, got = threads(2, work)
    assert traffic == Traffic(messages=1, sent=32) and got.tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
def test_around_a_ring_everyone_sees_everything_nearest_first(world):
    def work(ranks):
        return [(source, x.tolist()) for source, x in ranks.around(torch.full((3,), ranks.rank))], ranks.take()

    for rank, (seen, traffic) in enumerate(threads(world, work)):
        order = [(rank - step) % world for step in range(world)]
        assert seen == [(source, [source] * 3) for source in order]
        assert traffic == Traffic(messages=world - 1, sent=(world - 1) * 24)


def test_counting_begins_again_after_take():
    def work(ranks):
        ranks.barrier()
        ranks.all_gather(torch.ones(5)).wait()
        return ranks.take(), ranks.take()

    assert threads(2, work) == [(Traffic(collectives=1, sent=20), Traffic())] * 2


def test_without_a_group_it_says_how_to_get_one():
    with pytest.raises(RuntimeError, match=r"init_process_group.*on_ranks"):
        Ranks()
