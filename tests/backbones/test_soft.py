"""Oracle: the sizes of the authors' networks, and their layer written out."""

import pytest
import torch

from seefar.backbones import post_norm_column, soft
from seefar.mixers import GaussianAttention


def test_it_has_the_parameters_that_the_authors_count_for_tiny():
    depths = (1, 2, 3, 2)
    with torch.device("meta"):
        net = soft((64, 128, 320, 512), depths, classes=1000)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(13, abs=0.5)
    kernels = [part for part in net.modules() if isinstance(part, GaussianAttention)]
    assert [(k.grid[0] ** 2 // k.landmarks.gather.stride[0] ** 2, k.near.kernel_size[0]) for k in kernels] == [
        (49, near) for near, depth in zip((9, 5, 3), depths, strict=False) for _ in range(depth)
    ]


def test_a_small_one_names_pictures_and_learns():
    torch.manual_seed(0)
    net = soft((8, 8, 8, 8), (1, 1, 1, 1), side=64, head=4, stem=4, classes=5)
    out = net(torch.randn(2, 3, 64, 64))
    assert out.shape == (2, 5)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_layer_has_its_norms_behind_attention_and_mlp():
    torch.manual_seed(0)
    column = post_norm_column(8, lambda: GaussianAttention(8, 2, (2, 4), ratio=2), 2, ratio=3)
    x = torch.randn(2, 8, 8)
    y = x
    for attend, mlp in zip(column.blocks[::2], column.blocks[1::2], strict=True):
        y = torch.nn.functional.layer_norm(y + attend.mixer(y)[0], (8,), eps=1e-6)
        y = torch.nn.functional.layer_norm(y + mlp.mixer(y)[0], (8,), eps=1e-6)
    torch.testing.assert_close(column(x)[0], y)
    assert len(post_norm_column(8, None, 3).blocks) == 3


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"side that 32 divides.*100"):
        soft((8, 8, 8, 8), (1, 1, 1, 1), side=100)
