"""Generalisation of selective state spaces: its file keeps its shape, its claim runs."""

from seefar.papers import ssm_generalization as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_starts_lie_on_both_sides_of_zero_and_the_stable_one_is_held():
    assert [start for start, _ in paper.STARTS.values()] == [-0.5, 0.0, 0.5]
    assert not paper.STARTS["-0.5, held"][1]
