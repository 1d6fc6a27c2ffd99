"""Sparse attention streams, is dense attention under its mask, and says no to what it cannot do."""

from functools import partial

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.mixers import SparseAttention
from seefar.ops.block_attention import BlockMask
from seefar.testing import check_streaming

PATTERNS = {
    "local": partial(BlockMask.local, window=5, block=4),
    "strided": partial(BlockMask.strided, stride=6, block=4),
    "fixed": partial(BlockMask.fixed, stride=6, columns=2, block=4),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_streams(kind):
    torch.manual_seed(0)
    check_streaming(SparseAttention(6, 2, PATTERNS[kind]), torch.randn(2, 33, 6))


def test_is_dense_attention_under_its_mask():
    torch.manual_seed(0)
    mixer, x = SparseAttention(8, 2, PATTERNS["fixed"]).double(), torch.randn(2, 40, 8).double()
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in mixer.qkv(x).chunk(3, -1))
    want = scaled_dot_product_attention(q, k, v, attn_mask=PATTERNS["fixed"](40, 40).dense())
    torch.testing.assert_close(mixer(x)[0], mixer.out(want.transpose(1, 2).flatten(2)))


def test_a_token_out_of_the_pattern_changes_nothing():
    mixer, x = SparseAttention(8, 2, PATTERNS["strided"]).double(), torch.randn(1, 40, 8).double()
    changed = x.clone()
    changed[:, 10] += 1
    differs = (mixer(changed)[0] != mixer(x)[0]).any(-1)[0].nonzero().flatten().tolist()
    assert differs == [10, 16, 22, 28, 34]


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="heads must divide dim=8, got 3"):
        SparseAttention(8, 3, PATTERNS["local"])
    mixer = SparseAttention(8, 2, partial(BlockMask.local, window=3, causal=False))
    with pytest.raises(ValueError, match="not causal"):
        mixer(torch.ones(1, 4, 8), SparseAttention(8, 2, PATTERNS["local"])(torch.ones(1, 4, 8))[1])
