"""Oracle: attention over all keys at once, from the reference backend."""

from itertools import pairwise

import pytest
import torch
from torch.autograd import gradcheck

from seefar.ops.attention import attention
from seefar.ops.attention.merge import merge_attention


def inputs(N=12, M=40):
    generator = torch.Generator().manual_seed(N + M)
    return [torch.randn(2, heads, n, 6, generator=generator).double() for heads, n in ((4, N), (2, M), (2, M))]


def over(q, k, v, cuts):
    """Attention over each share of the keys between the cuts."""
    bounds = [0, *cuts, k.shape[2]]
    shares = [slice(a, b) for a, b in pairwise(bounds)]
    return [attention(q, k[:, :, at], v[:, :, at], return_lse=True, backend="tiled") for at in shares]


@pytest.mark.parametrize("cuts", [(), (1,), (39,), (0, 20), (5, 5, 31), tuple(range(1, 40))])
def test_any_split_of_the_keys_gives_the_whole_with_its_gradients(cuts):
    given = [x.requires_grad_() for x in inputs()]
    want, got = attention(*given, return_lse=True, backend="reference"), merge_attention(over(*given, cuts))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    gradients = [
        torch.autograd.grad(o.square().sum() + lse.sin().sum(), given, retain_graph=True) for o, lse in (got, want)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_the_order_of_merging_does_not_matter():
    a, b, c = over(*inputs(), (7, 30))
    want = merge_attention([a, b, c])
    for got in (merge_attention([merge_attention([a, b]), c]), merge_attention([c, merge_attention([b, a])])):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_rows_that_saw_no_key_stay_zero_and_pass_no_gradient():
    parts = [[o.detach().requires_grad_(), lse.detach()] for o, lse in over(*inputs(), (20,))]
    for part, unseen in zip(parts, ([0, 1], [0, 2]), strict=True):  # row 0 saw nothing anywhere
        part[1][:, :, unseen] = -torch.inf
        part[1].requires_grad_()
    o, lse = merge_attention(parts)
    assert (lse[:, :, 0] == -torch.inf).all() and lse[:, :, 1:].isfinite().all()
    torch.testing.assert_close(o[:, :, 1], parts[1][0][:, :, 1], rtol=0, atol=0)
    torch.testing.assert_close(o[:, :, 2], parts[0][0][:, :, 2], rtol=0, atol=0)
    leaves = [leaf for part in parts for leaf in part]
    gradients = torch.autograd.grad(o.square().sum() + lse[:, :, 1:].sum(), leaves)
    assert all(g.isfinite().all() and (g[:, :, 0] == 0).all() for g in gradients)


def test_vast_log_sum_exps_neither_overflow_nor_vanish():
    parts = over(*inputs(), (20,))
    for shift in (1e4, -1e4):
        moved = [(o, lse + shift) for o, lse in parts]
        torch.testing.assert_close(merge_attention(moved)[0], merge_attention(parts)[0], rtol=1e-9, atol=1e-9)


def test_gradients_match_finite_differences():
    parts = [x[:1, :1, :3].detach().requires_grad_() for part in over(*inputs(), (20,)) for x in part]
    assert gradcheck(lambda a, s, b, t: merge_attention([(a, s), (b, t)]), parts)


def test_half_precision_is_summed_in_float32():
    exact = over(*inputs(), (7, 20, 30))
    o, lse = merge_attention([(o.bfloat16(), lse.float()) for o, lse in exact])
    assert o.dtype == torch.bfloat16 and lse.dtype == torch.float32
    torch.testing.assert_close(o.double(), merge_attention(exact)[0], rtol=2**-7, atol=2e-3)


def test_parts_that_do_not_fit_are_refused():
    (o, lse), other = over(*inputs(), (20,))
    with pytest.raises(ValueError, match="at least one"):
        merge_attention([])
    with pytest.raises(ValueError, match=r"alike in all parts.*return_lse=True"):
        merge_attention([(o[:, :, :3], lse[:, :, :3]), other])
    with pytest.raises(ValueError, match=r"o \(\.\.\., N, dv\) with lse"):
        merge_attention([(o, o)])
