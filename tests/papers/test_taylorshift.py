"""TaylorShift: its file keeps its shape, and what it builds attends as it says."""

import torch

from seefar.mixers.taylor import Taylor
from seefar.papers import taylorshift
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(taylorshift, Scale("smoke", (0,)))


def test_what_it_builds_is_a_vit_whose_attention_may_change_its_form():
    torch.manual_seed(0)
    model = taylorshift.build(8, 2, 2, grid=(3, 3), patch=2, channels=1, classes=5)
    picture = torch.randn(2, 1, 6, 6)
    scores = [part for part in model.modules() if isinstance(part, Taylor)]
    assert len(scores) == 2
    outcomes = []
    for form in ("direct", "linear"):
        for block in model.column.blocks:
            block.mixer.form = form
        outcomes.append(model(picture))
    assert outcomes[0].shape == (2, 5)
    torch.testing.assert_close(*outcomes)


def test_the_control_is_a_mean_of_the_values():
    torch.manual_seed(0)
    mixer = taylorshift._taylor(8, 2, taylorshift.CONSTANT)
    x = torch.randn(1, 9, 8)
    mean = mixer.o_proj(mixer.v_proj(x).mean(1) * (9 / 4) ** 0.5)
    torch.testing.assert_close(mixer(x)[0], mean[:, None].expand(1, 9, 8), rtol=1e-4, atol=1e-4)
