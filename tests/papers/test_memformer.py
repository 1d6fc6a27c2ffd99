"""Memformer: its file keeps its shape, it wraps what it is given, and it learns by replay."""

import torch

from seefar.evals.recall import decoder
from seefar.papers import memformer
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(memformer, Scale("smoke", (0,)))


def test_it_is_the_model_itself_until_it_has_learnt_to_read_and_it_replays():
    model = decoder(16, 1).double().eval()
    ids = torch.randint(100, (2, 24), generator=torch.Generator().manual_seed(0))
    wrapped = memformer.build(model, slots=3, segment=24)
    got, state = wrapped(ids)
    torch.testing.assert_close(got, model(ids).logits, rtol=1e-10, atol=1e-10)
    assert state.m_BKD.shape == (2, 3, 16)
    assert wrapped.replay and not memformer.build(model, replay=False).replay
    assert memformer.build(model, truncate=2).truncate == 2
