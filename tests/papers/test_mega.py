"""Mega: its file keeps its shape, what it times gives the same averages, what it builds streams."""

import torch

from seefar.papers import mega
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(mega, Scale("smoke", (0,)))


def test_the_routes_that_are_timed_give_the_same_averages():
    blocks, kernel, at_hand = (mega._averages(way)(100)() for way in mega.ROUTES)
    torch.testing.assert_close(kernel, blocks, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at_hand, blocks, rtol=1e-4, atol=1e-5)


def test_what_it_builds_streams_and_is_bounded_with_chunks():
    torch.manual_seed(0)
    column = mega.build(4, 2, states=2, width=4, chunk=5)
    assert column.causal and column.bounded and not mega.build(4, 1, width=4).bounded
    check_streaming(column, torch.randn(1, 17, 4))


def test_averages_carry_what_chunks_cut_off():
    torch.manual_seed(0)
    x = torch.randn(1, 20, 4, requires_grad=True)
    reach = {}
    for averages in (True, False):
        column = mega.build(4, 1, states=2, width=4, chunk=5, averages=averages)
        (grad,) = torch.autograd.grad(column(x)[0][:, 12].sum(), x)
        reach[averages] = grad.abs().sum((0, 2)).nonzero().flatten().tolist()
    assert reach == {True: list(range(13)), False: [10, 11, 12]}
