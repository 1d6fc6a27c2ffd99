"""Every layout is a way to deal out a sequence, and its meetings are those that the causal mask asks for."""

import pytest
import torch

from seefar.distributed.layout import ALL, Contiguous, Striped, Zigzag, collect, deal, pairs

LAYOUTS = [Contiguous(), Zigzag(), Striped()]


@pytest.mark.parametrize("layout", LAYOUTS, ids=repr)
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_meetings_are_exactly_the_causal_mask(layout, world):
    n = 6
    places = layout.places(n, world)
    assert sorted(places.flatten().tolist()) == list(range(world * n))
    assert (places.diff(dim=1) > 0).all()
    for queries in range(world):
        for keys in range(world):
            want = places[queries][:, None] >= places[keys]
            got = torch.zeros(n, n, dtype=torch.bool)
            meeting = layout.meeting(queries, keys, n)
            if meeting is not None:
                part = torch.ones_like(got[meeting.rows, meeting.columns])
                got[meeting.rows, meeting.columns] = part.tril() if meeting.causal else part
                assert meeting.pairs(n) == got.sum()
            assert torch.equal(got, want), (queries, keys)


def test_zigzag_is_even_striped_nearly_and_contiguous_twice_as_long_on_the_last_rank():
    world, n = 4, 64
    assert len(set(pairs(Zigzag(), n, world))) == 1
    striped, in_order = pairs(Striped(), n, world), pairs(Contiguous(), n, world)
    assert max(striped) - min(striped) == n * (world - 1)
    mean = sum(in_order) / world
    assert mean == sum(pairs(Zigzag(), n, world)) / world == world * n * (world * n + 1) / 2 / world
    assert max(in_order) / mean == pytest.approx(2 - 1 / world, rel=0.01)
    assert ALL.pairs(n) == n * n


@pytest.mark.parametrize("layout", LAYOUTS, ids=repr)
def test_what_is_dealt_out_comes_together_again(layout):
    x = torch.randn(2, 12, 3)
    assert torch.equal(collect(deal(x, 3, layout, 1), layout, 1), x)


def test_tokens_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(ValueError, match=r"3 ranks cannot share 8 tokens evenly; pad them"):
        deal(torch.arange(8), 3, Contiguous(), 0)
    with pytest.raises(ValueError, match=r"two pieces of one length, got 3 tokens; pad"):
        deal(torch.arange(6), 2, Zigzag(), 0)
