"""LWM: its file keeps its shape; what it builds reads packed rows example by example, at the published size too."""

import torch

from seefar.papers import lwm as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper
from seefar.training.context_schedule import rebase


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_streams_and_knows_segments():
    torch.manual_seed(0)
    model = paper.build(8, 2, words=11, heads=2).double()
    ids = torch.randint(11, (1, 12))
    with torch.inference_mode():
        whole, state, rows = model(ids)[0], None, []
        for piece in ids.split(5, 1):
            logits, state = model(piece, state)
            rows.append(logits)
        torch.testing.assert_close(torch.cat(rows, 1), whole)
        hidden = model.embed(ids)
        mixed = model.column(hidden, segments=torch.tensor([[0] * 7 + [1] * 5]))[0]
        torch.testing.assert_close(mixed[:, 7:], model.column(hidden[:, 7:])[0])


def test_its_stages_rise_and_it_has_the_published_size():
    lengths, bases, _ = zip(*paper.STAGES, strict=True)
    assert list(lengths) == sorted(lengths) and list(bases) == sorted(bases)
    with torch.device("meta"):
        model = paper.build()
    rebase(model, 5e7)
    assert {block.mixer.rope.base for block in model.column.blocks} == {5e7}
    assert 6.5e9 < sum(weight.numel() for weight in model.parameters()) < 7.5e9
