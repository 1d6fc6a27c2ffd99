import pytest
import torch
from torch import nn

from seefar.backbones import Level, Pyramid, strided
from seefar.mixers import Attention, Block, Stack


def column(dim):
    return Stack([Block(dim, Attention(dim, 2, causal=False))])


def pyramid(**given):
    torch.manual_seed(0)
    fine = Level(strided(3, 6, 8, strides=(2, 1)), column(8), 8, (4, 6))
    coarse = Level(strided(8, 12, strides=(2,)), column(12), 12, (2, 3))
    return Pyramid([fine, coarse], **given).eval()


def test_levels_halve_the_grid_and_the_class_token_is_read_at_the_last():
    net = pyramid(classes=5)
    pixels = torch.randn(2, 3, 8, 12)
    fine, coarse = net.levels
    maps = fine.embed(pixels)
    assert maps.shape == (2, 8, 4, 6)
    x = fine.column(maps.flatten(2).mT + fine.place.table)[0].mT.reshape(2, 8, 4, 6)
    torch.testing.assert_close(net.maps(pixels)[0], x)
    y = coarse.embed(x).flatten(2).mT + coarse.place.table
    y = torch.cat([(net.cls_token + net.cls_place).expand(2, 1, 12), y], 1)
    want = net.head(nn.functional.layer_norm(coarse.column(y)[0][:, 0], (12,), eps=1e-6))
    torch.testing.assert_close(net(pixels), want)


def test_a_stem_is_convolutions_with_batch_norm_and_relu():
    torch.manual_seed(0)
    stem = strided(3, 4, 5, strides=(2, 1))
    pixels = want = torch.randn(4, 3, 8, 8)
    for conv, stride in ((stem[0], 2), (stem[3], 1)):
        y = nn.functional.conv2d(want, conv.weight, conv.bias, stride, padding=1)
        spread = (y.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        want = ((y - y.mean((0, 2, 3), keepdim=True)) / spread).relu()
    torch.testing.assert_close(stem(pixels), want)


def test_features_come_out_without_a_head_and_one_level_will_do():
    net = Pyramid([Level(strided(3, 8, strides=(2,)), column(8), 8, (2, 2))]).eval()
    assert net(torch.randn(1, 3, 4, 4)).shape == (1, 8) and net.maps(torch.randn(1, 3, 4, 4)) == []


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"maps of \(8, 4, 6\), got \(8, 5, 6\); set the grid"):
        pyramid()(torch.randn(1, 3, 10, 12))
    with pytest.raises(ValueError, match="at least one level"):
        Pyramid([])
