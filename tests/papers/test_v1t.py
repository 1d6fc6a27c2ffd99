"""V1T: its file keeps its shape, it has the published sizes, and its experiment compares like with like."""

import pytest
import torch

from seefar.papers import v1t
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(v1t, Scale("smoke", (0,)))


def test_it_has_the_sizes_of_the_released_code():
    core = v1t.build({"a": torch.rand(3, 2)}).core
    assert core.place.grid == (29, 57) and len(core.blocks) == 4
    block = core.blocks[0]
    assert block.mixer.q_proj.weight.shape == (4 * 155, 155) and block.mlp[1].weight.shape == (488, 155)
    # patches and places (1653 + class token), then of each block: attention, its norm, MLP with its norm, behaviour
    embed = 64 * 155 + 155 + (1653 + 1) * 155
    attention = 2 * 155 + 3 * 155 * 620 + 620 * 155 + 155
    mlp = 2 * 155 + 155 * 488 + 488 + 488 * 155 + 155
    behaviour = 5 * 77 + 77 + 77 * 155 + 155
    assert sum(p.numel() for p in core.parameters()) == embed + 4 * (attention + mlp + behaviour)


def test_an_animal_without_behaviour_needs_an_encoder_that_is_told_nothing():
    xy, shape = {"a": torch.rand(3, 2)}, {"size": (10, 14), "stride": 2, "dim": 8, "depth": 1, "heads": 2, "hidden": 16}
    with pytest.raises(ValueError, match=r"was built for behaviour \(B, 5\), got None"):
        v1t.build(xy, **shape)("a", torch.rand(2, 1, 10, 14))
    assert v1t.build(xy, **shape, behaviours=0)("a", torch.rand(2, 1, 10, 14)).shape == (2, 3)


def test_pictures_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="pictures of 6 x 20 hold no patch of 8"):
        v1t.build({"a": torch.rand(3, 2)}, size=(6, 20))
