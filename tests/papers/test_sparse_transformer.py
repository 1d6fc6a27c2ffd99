"""Sparse Transformer: its file keeps its shape, its arms differ in the pattern alone, what it builds streams."""

import pytest
import torch

from seefar.papers import sparse_transformer as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_all_arms_have_the_same_number_of_weights():
    arms = [None, *paper.patterns(12, 24).values()]
    assert len({sum(p.numel() for p in paper.build(layers=layers).parameters()) for layers in arms}) == 1


def test_both_steps_together_reach_every_earlier_pixel_and_local_windows_do_not():
    def reached(layers):
        first, second = (make(288, 288).dense()[0, 0].double() for make in layers)
        return (second @ first).bool()

    arms = paper.patterns(12, 24)
    everything = torch.ones(288, 288).tril().bool()
    assert torch.equal(reached(arms["strided"]), everything) and torch.equal(reached(arms["fixed"]), everything)
    assert not torch.equal(reached(arms["local"]), everything)


@pytest.mark.parametrize("name", ["strided", "fixed"])
def test_what_it_builds_streams(name):
    model = paper.build(8, 4, 6, layers=paper.patterns(6, 8)[name]).double()
    x = torch.randint(17, (2, 24))
    first, state = model(x[:, :10])
    second, _ = model(x[:, 10:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), model(x)[0], rtol=1e-10, atol=1e-10)


def test_it_refuses_a_stride_that_is_none():
    with pytest.raises(ValueError, match="at least 1, got window=0"):
        paper.build(layers=paper.patterns(0, 24)["strided"])
