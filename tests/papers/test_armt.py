"""ARMT: its file keeps its shape, it wraps what it is given, and its experiment measures what it says."""

import pytest
import torch

from seefar.evals.recall import decoder
from seefar.papers import armt
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(armt, Scale("smoke", (0,)))


def test_it_is_the_model_itself_until_it_has_learnt_to_write():
    model = decoder(16, 2).double().eval()
    ids = torch.randint(100, (2, 24), generator=torch.Generator().manual_seed(0))
    got, state = armt.build(model, segment=24, tokens=3)(ids)
    torch.testing.assert_close(got, model(ids).logits, rtol=1e-10, atol=1e-10)
    assert [tuple(one.A_BFD.shape) for one in state] == [(2, 384, 16)] * 2


def test_a_model_with_too_few_positions_is_refused():
    with pytest.raises(ValueError, match="has 500 positions, a segment of 512 and the memory's 10 need 522"):
        armt.build(decoder(16, 1, positions=500))
