import pytest
import torch
import torch.nn.functional as F

from seefar.backbones import ResNetBlock, ResNetDecoder, ResNetEncoder


def test_a_block_is_its_equation():
    torch.manual_seed(0)
    block, x = ResNetBlock(4, 6, groups=2).double(), torch.randn(3, 4, 5, 7, dtype=torch.float64)
    weights = dict(block.named_parameters())

    def normed(z):
        groups = z.unflatten(1, (2, -1))
        centred = groups - groups.mean((2, 3, 4), keepdim=True)
        return F.elu((centred / (centred.square().mean((2, 3, 4), keepdim=True) + 1e-6).sqrt()).flatten(1, 2))

    first = F.conv2d(normed(x), weights["refine.2.weight"], weights["refine.2.bias"], padding=1)
    second = F.conv2d(normed(first), weights["refine.5.weight"], weights["refine.5.bias"], padding=1)
    torch.testing.assert_close(block(x), F.conv2d(x, weights["skip.weight"]) + 0.1 * second)


@pytest.mark.parametrize("depths, side", [((4,), 1), ((4, 8), 2), ((4, 8, 16), 4)])
def test_there_and_back_again(depths, side):
    encode, decode = (make(3, depths, groups=2) for make in (ResNetEncoder, ResNetDecoder))
    x = torch.rand(2, 3, 8, 12)
    places = encode(x)
    assert places.shape == (2, depths[-1], 8 // side, 12 // side)
    assert decode(places).shape == x.shape


def test_frames_do_not_meet():
    encode, decode = (make(1, (4, 8), groups=2).double() for make in (ResNetEncoder, ResNetDecoder))
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    alone = torch.cat([decode(encode(frame[None])) for frame in x])
    torch.testing.assert_close(decode(encode(x)), alone)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ResNetBlock(4, 6, groups=4), "divide the widths 4 and 6, got 4"),
        (lambda: ResNetEncoder(1, (4, 8, 16), groups=2)(torch.rand(1, 1, 8, 6)), "multiples of 4 pixels, got 8 x 6"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
