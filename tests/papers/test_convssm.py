"""ConvS5: its file keeps its shape, what it builds is the published column and streams, its clips are held apart."""

import pytest
import torch

from seefar.mixers import ConvLSTM, ConvS5
from seefar.papers import convssm
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming

SMOKE = Scale("smoke", (0,))


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(convssm, SMOKE)


def test_the_published_model_has_its_layers_and_their_parameters():
    model = convssm.build()
    assert len(model.column.blocks) == 8 and model.encode.stride == 4
    layer = model.column.blocks[0].mixer
    assert type(layer) is ConvS5 and layer.ssm.B.shape == (128, 256, 3, 3, 2) and layer.refine[0].num_groups == 32
    # B and C of 128 pairs, two convolutions and two norms with their biases, three numbers a pair; LayerNorm
    layer_count = 4 * 9 * 256 * 256 + 2 * 256 + 4 * 256 + 3 * 128
    assert sum(p.numel() for p in model.column.blocks[0].parameters()) == layer_count + 2 * 256


def test_what_it_builds_streams():
    torch.manual_seed(0)
    check_streaming(convssm.build((4, 8), 2, groups=2).column, torch.randn(1, 9, 3, 3, 8))


def test_another_cell_stands_in_the_same_place():
    ours, theirs = convssm.build((4, 8), 1, groups=2), convssm.build((4, 8), 1, groups=2, cell=ConvLSTM)
    assert type(theirs.column.blocks[0].mixer) is ConvLSTM
    for part in ("encode", "decode"):
        sizes = [[p.shape for p in getattr(model, part).parameters()] for model in (ours, theirs)]
        assert sizes[0] == sizes[1]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="divide the widths 6 and 6, got 4"):
        convssm.build((6, 8), groups=4)
    with pytest.raises(ValueError, match="multiples of 2 pixels, got 5 x 8"):
        convssm.build((4, 8), 1, groups=2)(torch.rand(1, 2, 1, 5, 8))
