"""TCNCA: its file keeps its shape, what it times are the memories it names, what it builds carries over chunks."""

import pytest
import torch

from seefar.mixers import DilatedConv, GatedMixer
from seefar.papers import tcnca
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(tcnca, Scale("smoke", (0,)))


def test_both_routes_of_averages_that_are_timed_give_the_same():
    found = []
    for way in tcnca.ROUTES[1:]:
        torch.manual_seed(0)
        found.append(tcnca._memory(way)(100)())
    kernel, blocks = found
    torch.testing.assert_close(kernel, blocks, rtol=1e-4, atol=1e-5)


def test_the_convolutions_that_are_timed_cover_the_sequence():
    found = tcnca._memory(tcnca.ROUTES[0])(100)()
    assert found.shape == (1, 100, 128) and DilatedConv(128, cover=100).reach >= 100


def test_what_it_builds_streams_and_is_bounded():
    torch.manual_seed(0)
    column = tcnca.build(4, 2, kernel=3, factor=2, cover=12, chunk=5)
    assert column.causal and column.bounded
    check_streaming(column, torch.randn(1, 17, 4))


def test_convolutions_carry_as_far_as_they_reach_over_a_border_of_chunks():
    torch.manual_seed(0)
    x = torch.randn(1, 20, 4, requires_grad=True)
    column = tcnca.build(4, 1, kernel=3, factor=2, cover=7, chunk=5)
    assert isinstance(column.blocks[0], GatedMixer)
    (grad,) = torch.autograd.grad(column(x)[0][:, 12].sum(), x)
    # the chunk of token 12 begins at 10; its keys reach 6 tokens before that
    assert grad.abs().sum((0, 2)).nonzero().flatten().tolist() == list(range(4, 13))


def test_refuses_convolutions_that_end_within_a_chunk():
    with pytest.raises(ValueError, match="cover=64 is less than chunk=128"):
        tcnca.build(cover=64)
