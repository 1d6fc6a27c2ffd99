"""Laughing Hyena is made of parts, and its experiment runs."""

import pytest
import torch

from seefar.mixers import distill
from seefar.papers import laughing_hyena
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(laughing_hyena, Scale("smoke", (0,)))


def test_what_it_builds_is_distilled_and_writes_token_by_token():
    torch.manual_seed(0)
    fast = distill(laughing_hyena.build("(Y F)*2", 8, words=11, heads=2, length=32), 6)
    ids = torch.randint(11, (2, 30))
    whole, _ = fast(ids)
    state, rows = None, []
    for token in ids.split(1, 1):
        row, state = fast(token, state)
        rows.append(row)
    torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-4, atol=1e-4)


def test_a_pattern_without_a_maker_is_refused():
    with pytest.raises(ValueError, match="no maker for A"):
        laughing_hyena.build("Y A")
