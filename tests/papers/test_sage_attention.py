"""SageAttention: its file keeps its shape, what it builds is near to exact and smooths unless told not to."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from seefar.papers import sage_attention as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_bears_an_offset_by_smoothing():
    q, k, v = torch.randn(3, 1, 2, 300, 32, generator=torch.Generator().manual_seed(0))
    k = k + 30 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    want = scaled_dot_product_attention(q, k, v, is_causal=True).flatten()
    near, far = (cosine_similarity(paper.build(smooth=s)(q, k, v).flatten(), want, 0) for s in (True, False))
    assert near > 0.999 > far


def test_it_refuses_gradients():
    with pytest.raises(ValueError, match="has no gradients"):
        paper.build()(*torch.randn(3, 1, 1, 40, 8, requires_grad=True))
