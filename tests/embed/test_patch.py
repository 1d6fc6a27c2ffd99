"""Patches and the convolutional stem, against an unfold by hand and transformers' ViT."""

import pytest
import torch
import torch.nn.functional as F

from seefar.embed import ConvPatches, Patches


def pixels(B=2, T=3, H=32, W=48, seed=0):
    return torch.rand(B, T, 3, H, W, generator=torch.Generator().manual_seed(seed))


BOTH = [Patches(8, patch=8), ConvPatches(8, widths=(8, 8, 8))]
SECONDS = torch.tensor([0.0, 0.5, 2.25])


def test_patches_are_the_unfolded_squares_times_one_matrix():
    embed, x = Patches(20, patch=8), pixels()
    seq = embed(x, SECONDS)
    columns = F.unfold(x.flatten(0, 1), 8, stride=8).transpose(1, 2)  # (B*T, 4*6, 3*8*8)
    want = (columns @ embed.project.weight.T + embed.project.bias).reshape(2, 3 * 4 * 6, 20)
    torch.testing.assert_close(seq.tokens, want, rtol=1e-5, atol=1e-6)
    assert seq.grid == (3, 4, 6)


def test_patches_equal_the_patch_embedding_of_transformers_with_its_weights():
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTPatchEmbeddings

    theirs = ViTPatchEmbeddings(ViTConfig(image_size=32, patch_size=8, hidden_size=20))
    ours, x = Patches(20, patch=8), pixels(H=32, W=32)
    with torch.no_grad():
        ours.project.weight.copy_(theirs.projection.weight.flatten(1))
        ours.project.bias.copy_(theirs.projection.bias)
    want = torch.cat([theirs(frame) for frame in x.unbind(1)], 1)
    torch.testing.assert_close(ours(x, SECONDS).tokens, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "embed", [Patches(8, patch=8), ConvPatches(8, widths=(8, 8, 8))], ids=["Patches", "ConvPatches"]
)
def test_each_token_knows_its_frame_and_its_square(embed):
    per_row = torch.tensor([[0.0, 0.5, 2.25], [7.0, 7.0, 3600.04]], dtype=torch.float64)
    seq = embed(pixels(H=16, W=32), per_row)
    assert seq.grid == (3, 2, 4) and seq.tokens.shape == (2, 24, 8)
    assert torch.equal(seq.span, per_row.repeat_interleave(8, 1)[..., None].expand(2, 24, 2))
    assert seq.box[0, 6].tolist() == [0.5, 0.5, 1.0, 0.75]  # row 1 of 2, column 2 of 4
    assert torch.equal(seq.box[0, 6], seq.box[1, 8 + 6])
    assert (seq.mass == 1).all() and seq.mask.all()


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_frame_seen_alone_gives_the_tokens_it_gives_in_a_batch(blocks):
    torch.manual_seed(0)
    embed, x = ConvPatches(12, widths=(16, 24), blocks=blocks), pixels()
    for parameter in embed.parameters():  # also wakes the residual blocks, whose last convolution starts at zero
        torch.nn.init.normal_(parameter, std=0.1)
    together = embed(x, SECONDS).tokens.reshape(2, 3, -1, 12)
    alone = embed(x[1:, 2:], SECONDS[2:]).tokens
    torch.testing.assert_close(alone[0], together[1, 2], rtol=1e-5, atol=1e-6)
    assert embed.training, "in training mode too: no batch statistics"


def test_the_stem_is_three_by_three_convolutions_of_stride_two_then_one_by_one():
    embed = ConvPatches(10, widths=(8, 16, 24, 32))
    kernels = [
        (layer.kernel_size, layer.stride, layer.out_channels)
        for layer in embed.stem
        if isinstance(layer, torch.nn.Conv2d)
    ]
    assert kernels == [((3, 3), (2, 2), width) for width in (8, 16, 24, 32)] + [((1, 1), (1, 1), 10)]
    assert embed.patch == 16 and embed(pixels(H=48, W=16), SECONDS).grid == (3, 3, 1)


def test_the_stem_by_hand():
    torch.manual_seed(1)
    embed, x = ConvPatches(6, widths=(8,), blocks=1, groups=4), pixels(B=1, T=1, H=8, W=8)
    torch.nn.init.normal_(embed.stem[3].second.weight, std=0.1)
    h = F.conv2d(x[0], embed.stem[0].weight, stride=2, padding=1)
    h = F.group_norm(h, 4).relu()
    r = F.conv2d(F.group_norm(h, 4).relu(), embed.stem[3].first.weight, padding=1)
    h = h + F.conv2d(F.group_norm(r, 4).relu(), embed.stem[3].second.weight, padding=1)
    want = torch.einsum("bchw,dc->bhwd", h, embed.stem[4].weight[..., 0, 0]) + embed.stem[4].bias
    torch.testing.assert_close(embed(x, torch.zeros(1)).tokens, want.reshape(1, 16, 6), rtol=1e-4, atol=1e-5)


def test_a_change_in_one_square_changes_its_own_token_most():
    torch.manual_seed(0)
    embed, x = ConvPatches(16, widths=(8, 16)), pixels(B=1, T=1, H=32, W=32)
    poked = x.clone()
    poked[..., 12:16, 20:24] = 1 - poked[..., 12:16, 20:24]  # square (3, 5) of 8 x 8
    change = (embed(poked, torch.zeros(1)).tokens - embed(x, torch.zeros(1)).tokens)[0].norm(dim=-1)
    assert int(change.argmax()) == 3 * 8 + 5


@pytest.mark.parametrize("make", [lambda: Patches(8, patch=8), lambda: ConvPatches(8, widths=(8, 8, 8))])
def test_gradients_reach_every_weight_and_the_pixels(make):
    embed, x = make(), pixels(H=16, W=16).requires_grad_()
    embed(x, SECONDS).tokens.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in embed.parameters())
    assert x.grad is not None and (x.grad.abs().sum((2, 3, 4)) > 0).all()


@pytest.mark.parametrize(
    ("x", "seconds", "words"),
    [
        (torch.rand(1, 3, 3, 30, 32), SECONDS, "height 30 is no multiple of the patch 8; resize or pad to 32"),
        (torch.rand(1, 3, 3, 32, 33), SECONDS, "width 33 is no multiple of the patch 8; resize or pad to 32"),
        (torch.rand(1, 3, 3, 3, 32), SECONDS, "height 3 is no multiple of the patch 8; resize or pad to 8"),
        (torch.rand(3, 3, 32, 32), SECONDS, r"\(B, T, 3, H, W\), got \(3, 3, 32, 32\)"),
        (torch.rand(1, 3, 1, 32, 32), SECONDS, r"\(B, T, 3, H, W\)"),
        (torch.zeros(1, 3, 3, 32, 32, dtype=torch.uint8), SECONDS, r"torch.uint8: call .float\(\) / 255"),
        (torch.rand(1, 3, 3, 32, 32), SECONDS[:2], r"seconds must be \(3,\)"),
        (torch.rand(1, 3, 3, 32, 32), SECONDS.flip(0), "must not fall"),
        (torch.rand(1, 3, 3, 32, 32), SECONDS / 0, "finite"),
    ],
)
@pytest.mark.parametrize(
    "embed", [Patches(8, patch=8), ConvPatches(8, widths=(8, 8, 8))], ids=["Patches", "ConvPatches"]
)
def test_bad_pixels_are_told_what_to_do(embed, x, seconds, words):
    with pytest.raises(ValueError, match=words):
        embed(x, seconds)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of groups=8"):
        ConvPatches(8, widths=(12,))
    with pytest.raises(ValueError, match="positive"):
        ConvPatches(8, widths=())
    with pytest.raises(ValueError, match="positive"):
        Patches(8, patch=0)
