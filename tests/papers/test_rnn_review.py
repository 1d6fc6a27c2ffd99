"""The review of recurrent networks: its file keeps its shape and what it builds is what it says."""

import pytest
import torch

from seefar.papers import rnn_review
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(rnn_review, Scale("smoke", (0,)))


@pytest.mark.parametrize("arm", ["elman", "lstm", "gru", "lru"])
def test_every_arm_reads_pairs_and_gives_a_number(arm):
    assert rnn_review.build(arm, 10)(torch.randn(2, 10, 2))[0].shape == (2, 1)


def test_a_gradient_that_fades_as_told_is_off_by_little():
    measure = rnn_review._fade(True)(5)
    assert max(measure(point) for point in [(0.9, 1.0), (1.0, 0.3)]) < 0.1


def test_an_unknown_cell_is_refused():
    with pytest.raises(KeyError, match="jordan"):
        rnn_review.build("jordan", 10)
