"""FlashFFTConv: its file keeps its shape, what it builds is Hyena, and streams where taps are few."""

import pytest
import torch

from seefar.mixers.hyena import Hyena
from seefar.papers import flashfftconv as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_gives_the_same_by_products_and_reads_on_as_a_stream():
    torch.manual_seed(0)
    ids = torch.randint(60, (2, 40))
    model = paper.build(4, words=60, length=16, keep_time=5).double()
    assert sum(isinstance(layer, Hyena) for layer in model.modules()) == 2
    other = paper.build(4, words=60, length=16, keep_time=5, backend="monarch", factors=(4, 4)).double()
    other.load_state_dict(model.state_dict())
    want, _ = model(ids)
    torch.testing.assert_close(other(ids)[0], want, rtol=1e-10, atol=1e-10)
    first, state = model(ids[:, :25])
    torch.testing.assert_close(torch.cat([first, model(ids[:, 25:], state)[0]], 1), want, rtol=1e-10, atol=1e-10)


def test_it_refuses_factors_that_hold_too_few_tokens():
    with pytest.raises(ValueError, match=r"transform of 16, but 40 tokens and 40 taps need 79"):
        paper.build(4, words=9, factors=(4, 4))(torch.zeros(1, 40, dtype=torch.int64))
