"""Hrrformer: its file keeps its shape, and its layer is the one of the authors' code."""

import torch

from seefar.mixers import Holographic, TwoFormAttention
from seefar.papers import hrrformer
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(hrrformer, Scale("smoke", (0,)))


def test_a_layer_has_no_norm_before_attention_and_one_before_the_mlp():
    torch.manual_seed(0)
    layer = hrrformer.layered(8, 1, lambda: TwoFormAttention(8, 2, Holographic()))
    x = torch.randn(2, 7, 8)
    attend, mlp = (block.mixer for block in layer.blocks)
    y = x + attend(x)[0]
    want = y + mlp(torch.nn.functional.layer_norm(y, (8,)))[0]
    torch.testing.assert_close(layer(x)[0], want)
    assert mlp.into.out_features == 4 and attend.o_proj.bias is None


def test_words_come_out_as_classes():
    model = hrrformer.build(8, 2, 2, words=17, length=20, classes=10)
    assert model(torch.randint(17, (3, 20)))[0].shape == (3, 10)
