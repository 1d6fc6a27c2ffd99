"""MA-LMM: its paper file keeps its shape, its experiment runs, and its memory is the published one."""

import pytest
import torch

from seefar.compress import QueryResampler
from seefar.memory import AdjacentMerge
from seefar.papers import malmm
from seefar.papers._card import Scale
from seefar.sequence import VisualSequence
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(malmm, Scale("smoke", (0,)))


def test_there_is_one_bank_for_the_frames_and_one_for_the_queries_of_each_layer():
    stream = malmm.build(QueryResampler(10, 12, queries=5, depth=3, heads=2), slots=7, memory=4, words=2)
    assert [(store.capacity, store.slots) for store in stream.stores] == [(28, 7), *[(28, 7)] * 3]
    assert all(isinstance(store.reduce, AdjacentMerge) for store in stream.stores)


def test_by_default_it_holds_twenty_frames_of_a_vision_transformer():
    with torch.device("meta"):
        resampler = QueryResampler(1408, depth=2)
    stream = malmm.build(resampler)
    assert [(store.capacity, store.slots) for store in stream.stores] == [(5140, 257), (640, 32), (640, 32)]


@torch.no_grad()
def test_what_comes_out_stands_for_the_whole_video():
    stream = malmm.build(QueryResampler(6, 8, queries=4, depth=2, heads=2), slots=3, memory=2)
    out = stream.run(VisualSequence.of_grid(torch.randn(2, 9, 1, 3, 6), torch.arange(9)))
    assert out.tokens.shape == (2, 4, 8)
    assert out.mass.sum(1).tolist() == [27, 27] and (out.span == torch.tensor([0, 8])).all()


@pytest.mark.parametrize("memory", [0, -1])
def test_a_bank_without_room_is_refused(memory):
    with pytest.raises(ValueError, match=f"at least one frame, got memory={memory}"):
        malmm.build(QueryResampler(6, 8, heads=2, depth=1), memory=memory)
