"""Tubelets, against a 3-d convolution, transformers' ViViT, and spans by hand."""

import pytest
import torch
import torch.nn.functional as F

from seefar.embed import Tubelets


def pixels(B=2, T=4, H=16, W=24, seed=0):
    return torch.rand(B, T, 3, H, W, generator=torch.Generator().manual_seed(seed))


def test_tubelets_are_a_convolution_whose_stride_is_its_kernel():
    embed, x = Tubelets(10, (2, 8, 4)), pixels()
    weight = embed.project.weight.reshape(10, 3, 2, 8, 4)
    want = F.conv3d(x.transpose(1, 2), weight, embed.project.bias, stride=(2, 8, 4))
    seq = embed(x, torch.arange(4.0))
    assert seq.grid == (2, 2, 6)
    torch.testing.assert_close(seq.tokens, want.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_tubelets_equal_the_embedding_of_vivit_with_its_weights():
    from transformers import VivitConfig
    from transformers.models.vivit.modeling_vivit import VivitTubeletEmbeddings

    theirs = VivitTubeletEmbeddings(VivitConfig(image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=12))
    ours, x = Tubelets(12, (2, 8, 8)), pixels(W=16)
    with torch.no_grad():
        ours.project.weight.copy_(theirs.projection.weight.flatten(1))
        ours.project.bias.copy_(theirs.projection.bias)
    torch.testing.assert_close(ours(x, torch.arange(4.0)).tokens, theirs(x), rtol=1e-5, atol=1e-6)


def test_a_span_runs_from_the_first_frame_of_a_block_to_its_last():
    seq = Tubelets(4, (3, 8, 8))(pixels(T=6, H=8, W=16), torch.tensor([0.0, 0.1, 1.5, 2.0, 2.5, 9.0]))
    assert seq.span[0].tolist() == [[0.0, 1.5], [0.0, 1.5], [2.0, 9.0], [2.0, 9.0]]
    assert seq.box[0].tolist() == [[0, 0, 1, 0.5], [0, 0.5, 1, 1]] * 2


def test_the_end_of_a_film_is_kept_by_repeating_its_last_frame():
    embed, x = Tubelets(4, (3, 8, 8)), pixels(T=4)
    seconds = torch.tensor([0.0, 1.0, 2.0, 3.5])
    seq = embed(x, seconds)
    filled = torch.cat([x, x[:, -1:], x[:, -1:]], 1)
    want = embed(filled, torch.cat([seconds, seconds[-1:], seconds[-1:]]))
    assert seq.grid == (2, 2, 3) and torch.equal(seq.tokens, want.tokens)
    assert seq.span[0, -1].tolist() == [3.5, 3.5]


def test_gradients_reach_every_pixel_and_weight():
    embed, x = Tubelets(4, (2, 8, 8)), pixels(T=3).requires_grad_()
    embed(x, torch.arange(3.0)).tokens.square().sum().backward()
    assert (x.grad != 0).all() and all((p.grad != 0).any() for p in embed.parameters())


@pytest.mark.parametrize(
    ("x", "seconds", "words"),
    [
        (torch.rand(1, 4, 3, 12, 16), torch.arange(4.0), "height 12 is no multiple of the patch 8"),
        (torch.rand(1, 0, 3, 16, 16), torch.arange(0.0), "at least one frame"),
        (torch.rand(1, 4, 3, 16, 16), torch.arange(5.0), "seconds must be"),
    ],
)
def test_bad_clips_are_told_what_to_do(x, seconds, words):
    with pytest.raises(ValueError, match=words):
        Tubelets(4, (2, 8, 8))(x, seconds)


def test_bad_blocks_are_refused():
    with pytest.raises(ValueError, match="three positive ints"):
        Tubelets(4, (0, 8, 8))
