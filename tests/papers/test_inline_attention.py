"""InLine: its file keeps its shape, and what it builds is the authors' block."""

import torch
import torch.nn.functional as F

from seefar.papers import inline_attention
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(inline_attention, Scale("smoke", (0,)))


def test_its_attention_is_that_of_the_authors_code_with_a_class_token():
    torch.manual_seed(0)
    model = inline_attention.build(8, 1, 2, grid=(3, 3), patch=2, channels=1, classes=5)
    mixer = model.column.blocks[0].mixer
    x = torch.randn(2, 10, 8)
    q, k, v = (proj(x).reshape(2, 10, 2, 4).permute(0, 2, 1, 3) for proj in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    kv = (k.mT * (0.5 / 10) ** 0.5) @ (v * (0.5 / 10) ** 0.5)
    y = q @ kv + (1 - q @ k.mean(2, keepdim=True).mT * 0.5) * v.mean(2, keepdim=True)
    y = y.transpose(1, 2).reshape(2, 10, 8)
    filters = mixer.local.predict(x.mean(1)[..., None]).reshape(16, 1, 3, 3)
    near = v[:, :, 1:].transpose(1, 2).reshape(2, 3, 3, 8).permute(0, 3, 1, 2).reshape(1, 16, 3, 3)
    near = F.conv2d(near, filters, padding=1, groups=16).reshape(2, 8, 9).mT
    want = mixer.o_proj(torch.cat([y[:, :1], y[:, 1:] + near], 1))
    torch.testing.assert_close(mixer(x)[0], want)
    assert model(torch.randn(2, 1, 6, 6)).shape == (2, 5)
