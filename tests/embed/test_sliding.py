"""Patches that overlap: the convolution they are, and the boxes they saw."""

import pytest
import torch
from torch.nn.functional import conv2d

from seefar.embed import Patches, SlidingPatches


def test_tokens_are_a_convolution_with_a_stride():
    torch.manual_seed(0)
    embed = SlidingPatches(5, 4, 3, 2).double()
    pixels = torch.randn(2, 3, 2, 11, 14).double()
    seq = embed(pixels, torch.arange(3.0))
    assert seq.grid == (3, 3, 4)
    wanted = conv2d(pixels.flatten(0, 1), embed.project.weight.view(5, 2, 4, 4), embed.project.bias, stride=3)
    got = seq.tokens.reshape(6, 3, 4, 5).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_without_overlap_they_are_flat_patches():
    torch.manual_seed(0)
    sliding, flat = SlidingPatches(5, 4, 4, 2), Patches(5, 4, 2)
    flat.load_state_dict(sliding.state_dict())
    pixels, seconds = torch.randn(2, 2, 2, 8, 12), torch.tensor([0.0, 1.5])
    ours, theirs = sliding(pixels, seconds), flat(pixels, seconds)
    for name in ("tokens", "span", "box", "mass", "segment", "mask"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    assert ours.grid == theirs.grid


def test_a_token_depends_on_its_box_alone():
    torch.manual_seed(0)
    embed, pixels = SlidingPatches(3, 4, 2, 1).double(), torch.randn(1, 1, 1, 9, 12).double()
    seq = embed(pixels, torch.zeros(1))
    y0, x0, y1, x1 = (seq.box[0, 7] * torch.tensor([9.0, 12.0, 9.0, 12.0])).round().int().tolist()
    assert (y1 - y0, x1 - x0) == (4, 4)
    outside = torch.randn_like(pixels)
    outside[..., y0:y1, x0:x1] = pixels[..., y0:y1, x0:x1]
    again = embed(outside, torch.zeros(1))
    torch.testing.assert_close(again.tokens[0, 7], seq.tokens[0, 7], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(again.tokens[0, 6], seq.tokens[0, 6])


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="stride at most patch"):
        SlidingPatches(3, 4, 5)
    with pytest.raises(ValueError, match="no square of 4; use a smaller patch"):
        SlidingPatches(3, 4)(torch.rand(1, 1, 3, 3, 9), torch.zeros(1))
    with pytest.raises(ValueError, match=r"must be \(B, T, 3, H, W\)"):
        SlidingPatches(3, 4)(torch.rand(1, 1, 1, 8, 8), torch.zeros(1))
