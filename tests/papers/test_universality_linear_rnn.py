"""Universality: its file keeps its shape, its claim runs, its controls differ from the method in one thing."""

import torch

from seefar.papers import universality_linear_rnn as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_real_eigenvalues_are_as_large_as_those_of_the_ring_but_do_not_turn():
    drawn = {}
    for name in ("ring", "real, as large as the ring"):
        torch.manual_seed(0)
        drawn[name] = paper.EIGENVALUES[name](50)
    complex_, real = drawn.values()
    torch.testing.assert_close(complex_.abs(), real, rtol=1e-12, atol=0)
    assert complex_.is_complex() and not real.is_complex()
