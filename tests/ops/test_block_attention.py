"""Masks are checked against loops over their definitions, results against PyTorch's attention under the dense mask."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.protocols import peak_bytes
from seefar.ops.block_attention import BACKENDS, BlockMask, block_attention
from seefar.testing import check_op


def inputs(N, M=None, H=4, Hkv=2, d=6, dv=5, B=2):
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (B, H, N, d), "k": (B, Hkv, M or N, d), "v": (B, Hkv, M or N, dv)}
    return {key: torch.randn(shape, generator=generator).double() for key, shape in shapes.items()}


def chosen(N, M, block, heads=4, batch=2, count=3, causal=True):
    generator = torch.Generator().manual_seed(N)
    shape = batch, heads, -(-N // block[0]), count
    return BlockMask.listed(
        torch.randint(-1, -(-M // block[1]), shape, generator=generator), N, M, block=block, causal=causal
    )


MASKS = {
    "local": lambda N, M=None, **kw: BlockMask.local(N, M, window=10, block=16, **kw),
    "strided": lambda N, M=None, **kw: BlockMask.strided(N, M, stride=7, block=4, **kw),
    "wide strided": lambda N, M=None, **kw: BlockMask.strided(N, M, stride=50, block=16, **kw),
    "fixed": lambda N, M=None, **kw: BlockMask.fixed(N, M, stride=9, columns=2, block=4, **kw),
    "butterfly": lambda N, M=None, **kw: BlockMask.butterfly(N, block=8, **kw),
    "listed": lambda N, M=None, **kw: chosen(N, M or N, (8, 3), **kw),
}
DEFINED = {
    "local": lambda i, j: abs(i - j) < 10,
    "strided": lambda i, j: (i - j) % 7 == 0,
    "wide strided": lambda i, j: (i - j) % 50 == 0,
    "fixed": lambda i, j: i // 9 == j // 9 or j % 9 >= 7,
    "butterfly": lambda i, j: (i // 8) ^ (j // 8) in (0, 1, 2, 4, 8, 16, 32),
}


@pytest.mark.parametrize("kind", DEFINED)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("N", "M"), [(1, 1), (60, 60), (63, 63), (5, 61), (1, 40)])
def test_masks_are_their_definitions(kind, causal, N, M):
    if kind == "butterfly" and N != M:
        pytest.skip("joins equals")
    mask = MASKS[kind](N, M, causal=causal)
    want = torch.tensor([[(j <= i or not causal) and DEFINED[kind](i, j) for j in range(M)] for i in range(M - N, M)])
    assert torch.equal(mask.dense()[0, 0], want)
    assert torch.equal(mask.pairs_per_row[0, 0], want.sum(1))
    assert mask.pairs == want.sum() and mask.density == pytest.approx(want.double().mean())
    assert mask.computed >= mask.pairs


def test_a_list_is_kept_as_it_was_given_once_and_in_order():
    mask = BlockMask.listed(torch.tensor([[[[3, 1, 3, -1], [-1, 0, -1, -1]]]]), 6, 8, block=(4, 2), causal=False)
    assert mask.kept.tolist() == [[[[1, 3], [0, -1]]]]
    want = torch.zeros(6, 8, dtype=torch.bool)
    want[:4, 2:4] = want[:4, 6:] = want[4:, :2] = True
    assert torch.equal(mask.dense()[0, 0], want)


@pytest.mark.parametrize("kind", MASKS)
def test_backends_agree_in_outputs_and_all_gradients(kind):
    for causal in (True, False):
        op = lambda causal=causal, **given: block_attention(  # noqa: E731
            given["q"], given["k"], given["v"], MASKS[kind](given["q"].shape[2], causal=causal),
            return_lse=True, backend=given["backend"],
        )  # fmt: skip
        check_op(op, BACKENDS, inputs, lengths=(1, 16, 63, 100))


@pytest.mark.parametrize("kind", ["local", "strided", "fixed", "listed"])
def test_earlier_keys_may_stand_in_front(kind):
    given = inputs(13, 50)
    mask = MASKS[kind](13, 50)
    got = [block_attention(**given, mask=mask, backend=name) for name in BACKENDS]
    torch.testing.assert_close(*got, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["local", "strided", "fixed", "butterfly"])
def test_equals_scaled_dot_product_attention_under_the_dense_mask(kind):
    given = {key: value.requires_grad_() for key, value in inputs(70, Hkv=4, dv=6).items()}
    mask = MASKS[kind](70)
    want = scaled_dot_product_attention(*given.values(), attn_mask=mask.dense())
    got = block_attention(**given, mask=mask)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    gradients = [torch.autograd.grad(o.square().sum(), list(given.values())) for o in (got, want)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_gradients_of_output_and_log_sum_exp_match_finite_differences():
    given = [value[:1].requires_grad_() for value in inputs(9, H=2, Hkv=1, d=3, dv=2).values()]
    mask = BlockMask.strided(9, stride=3, block=2)
    assert gradcheck(lambda *x: block_attention(*x, mask, return_lse=True, backend="gathered"), given)


@pytest.mark.parametrize(("n", "stride"), [(64, 8), (60, 8), (100, 10)])
def test_two_hops_reach_every_earlier_token(n, stride):
    local, strided = (
        make.dense()[0, 0].double()
        for make in (BlockMask.local(n, window=stride, block=8), BlockMask.strided(n, stride=stride, block=8))
    )
    assert torch.equal((local @ strided).bool(), torch.ones(n, n).tril().bool())
    fixed = BlockMask.fixed(n, stride=stride, block=8).dense()[0, 0].double()
    assert torch.equal((fixed @ fixed).bool(), torch.ones(n, n).tril().bool())


def test_a_row_meets_no_more_keys_than_both_sets_have():
    n, stride = 100, 8
    local, strided = BlockMask.local(n, window=stride), BlockMask.strided(n, stride=stride)
    assert local.pairs_per_row.max() == stride and strided.pairs_per_row.max() == math.ceil(n / stride)
    assert BlockMask.fixed(n, stride=stride).pairs_per_row.max() <= stride + math.ceil(n / stride)


def test_strided_blocks_follow_columns_and_so_compute_little_more_than_what_meets():
    mask = BlockMask.strided(4096, stride=64, block=32)
    assert mask.computed <= 1.6 * mask.pairs  # in the order of places it would be a factor of 32
    assert mask.pairs == sum(i // 64 + 1 for i in range(4096))


def test_only_kept_blocks_are_computed_and_no_dense_mask_is_made(monkeypatch):
    monkeypatch.setattr(BlockMask, "dense", lambda self: pytest.fail("made the dense mask"))
    sizes = []

    def bmm(a, b, product=torch.bmm):
        sizes.append(a.shape[0] * a.shape[1] * b.shape[2])
        return product(a, b)

    monkeypatch.setattr(torch, "bmm", bmm)
    mask = BlockMask.local(2048, window=64, block=64)
    block_attention(**inputs(2048, H=1, Hkv=1, B=1, d=8, dv=8), mask=mask)
    assert sum(sizes[::2]) == pytest.approx(mask.computed, rel=0.05)  # every other product is that with the values


def test_memory_grows_with_the_length_not_with_its_square():
    def held(N):
        given = [x.float().requires_grad_() for x in inputs(N, H=1, Hkv=1, B=1, d=16, dv=16).values()]
        mask = BlockMask.local(N, window=64, block=32)
        return peak_bytes(lambda: torch.autograd.grad(block_attention(*given, mask).sum(), given))

    assert held(32768) < 4.8 * held(8192)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_query_that_meets_no_key_gives_zeros_and_no_gradient(name):
    given = {key: value.requires_grad_() for key, value in inputs(8).items()}
    mask = BlockMask.listed(torch.tensor([[[[-1], [0]]]]), 8, block=(4, 4), causal=False)
    o, lse = block_attention(**given, mask=mask, return_lse=True, backend=name)
    assert (o[:, :, :4] == 0).all() and (lse[:, :, :4] == -math.inf).all() and lse[:, :, 4:].isfinite().all()
    dq, dk, dv = torch.autograd.grad(o.sum(), list(given.values()))
    assert (dq[:, :, :4] == 0).all() and dk.isfinite().all() and dv.isfinite().all()
    assert (dv[:, :, 4:] == 0).all()


def test_half_precision_is_summed_in_float32():
    given = {key: value.bfloat16() for key, value in inputs(90).items()}
    mask = MASKS["fixed"](90)
    got = block_attention(**given, mask=mask)
    want = block_attention(**{key: x.double() for key, x in given.items()}, mask=mask)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), want, rtol=2**-7, atol=1e-2)


def test_misfits_are_refused_with_what_to_do():
    given = inputs(8)
    mask = BlockMask.local(8, window=3)
    with pytest.raises(ValueError, match=r"mask is of 8 queries and 8 keys, got q \(2, 4, 9, 6\)"):
        block_attention(**inputs(9), mask=mask)
    with pytest.raises(ValueError, match="must be a BlockMask, got Tensor"):
        block_attention(**given, mask=torch.ones(8, 8))
    with pytest.raises(ValueError, match="4 query heads cannot share 3 key heads"):
        block_attention(given["q"], *torch.ones(2, 2, 3, 8, 6).double(), mask)
    with pytest.raises(ValueError, match=r"lists \(3, 1\) batches and heads"):
        block_attention(**given, mask=chosen(8, 8, (4, 4), heads=1, batch=3))
    with pytest.raises(ValueError, match=r"one dtype and device.*torch.float32"):
        block_attention(**given | {"k": given["k"].float()}, mask=mask)
    with pytest.raises(ValueError, match=r"unknown backend 'flex'"):
        block_attention(**given, mask=mask, backend="flex")


def test_masks_that_cannot_be_are_refused():
    for wrong in ({"window": 0}, {"window": 3, "block": 0}):
        with pytest.raises(ValueError, match=r"at least 1, got (window|block)=0"):
            BlockMask.local(8, **wrong)
    with pytest.raises(ValueError, match="stride=0"):
        BlockMask.strided(8, stride=0)
    with pytest.raises(ValueError, match="8 queries need as many keys, got 5"):
        BlockMask.strided(8, 5, stride=2)
    with pytest.raises(ValueError, match=r"stride=4 has no 5 columns"):
        BlockMask.fixed(8, stride=4, columns=5)
    with pytest.raises(ValueError, match=r"R = 2 blocks of 4 of 8 queries, got \(1, 1, 3, 1\)"):
        BlockMask.listed(torch.zeros(1, 1, 3, 1, dtype=torch.int64), 8, block=(4, 4))
    with pytest.raises(ValueError, match=r"8 keys are 2 blocks of 4.*from 0 to 2"):
        BlockMask.listed(torch.tensor([[[[0], [2]]]]), 8, block=(4, 4))
