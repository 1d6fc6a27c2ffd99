"""Memorisation: its file keeps its shape, its claim runs, its grid stays inside of the theorem."""

from seefar.papers import memorization_capacity as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_the_grid_has_twelve_layers_with_fewer_tokens_than_channels_and_both_ends_of_the_law():
    assert len(set(paper.GRID)) == 12
    assert all(n < d for _, n, d in (*paper.GRID, *paper.BY_HEADS, *paper.BY_TOKENS))
    assert {H * d >= paper.COUNT for H, _, d in paper.GRID} == {True, False}
