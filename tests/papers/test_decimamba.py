"""DeciMamba: its file keeps its shape, and its layers drop what the published schedule says."""

import torch

from seefar.papers import decimamba
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(decimamba, Scale("smoke", (0,)))


def test_what_it_builds_keeps_the_base_then_half_of_it_and_the_response():
    torch.manual_seed(0)
    model = decimamba._plain(4)
    short = decimamba.build(model, (0, 1), base=8, minimum=2, protect=2)
    logits, (_, state) = short(torch.randint(16, (3, 50)))
    assert logits.shape[1] == 4 + 2 and (state.kept_BK[:, -2:] == torch.tensor([48, 49])).all()
    same = torch.randint(16, (1, 10))
    assert torch.equal(decimamba.build(model, (0,), base=8, minimum=2, protect=2)(same)[0], model(same)[0])
