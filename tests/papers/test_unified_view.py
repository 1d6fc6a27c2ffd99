"""Unified view: its file keeps its shape, and what it trains has only its attention to see far with."""

import torch

from seefar.papers import unified_view as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_without_attention_the_classifier_sees_its_last_tokens_alone():
    torch.manual_seed(0)
    model, ids = paper.build(8), torch.randint(16, (1, 40))
    far = ids.clone()
    far[:, :20] = (far[:, :20] + 1) % 16
    assert not torch.allclose(model(far)[0], model(ids)[0])
    torch.nn.init.zeros_(model.column.blocks[1].mixer.o_proj.weight)
    torch.testing.assert_close(model(far)[0], model(ids)[0], rtol=0, atol=0)
