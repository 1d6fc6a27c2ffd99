"""FlashAttention-2: its file keeps its shape, what it builds is exact for grouped heads, caches and windows."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.papers import flash_attention_2 as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_shares_keys_among_heads_as_repeated_ones_would():
    q, k, v, do = (torch.randn(2, heads, 70, 8).double() for heads in (8, 1, 1, 8))
    leaves, others = ([x.clone().requires_grad_() for x in (q, k, v)] for _ in range(2))
    o = paper.build()(*leaves)
    want = scaled_dot_product_attention(others[0], *(x.expand(-1, 8, -1, -1) for x in others[1:]), is_causal=True)
    torch.testing.assert_close(o, want, rtol=1e-10, atol=1e-10)
    found, wanted = torch.autograd.grad(o, leaves, do), torch.autograd.grad(want, others, do)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("N", [1, 300])
def test_what_it_builds_stands_at_the_end_of_its_keys(N):
    q, k, v = (torch.randn(1, 2, n, 8).double() for n in (N, 2000, 2000))
    seen = torch.arange(2000) <= torch.arange(2000 - N, 2000)[:, None]
    want = scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(paper.build()(q, k, v), want, rtol=1e-10, atol=1e-10)


def test_it_refuses_an_empty_window():
    with pytest.raises(ValueError, match="window must be a positive int"):
        paper.build(window=0)(*torch.randn(3, 1, 1, 4, 4))
