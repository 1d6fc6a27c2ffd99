"""The tiled backend at its real tile sizes, against PyTorch's unfused attention."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.protocols import peak_bytes
from seefar.ops.attention import BACKENDS, attention
from seefar.ops.attention.tiled import TILE

RAGGED = TILE + 67  # more than one tile, and no multiple


def inputs(N, M=None, H=2, d=16, dtype=torch.float64, large=1.0):
    generator = torch.Generator().manual_seed(N)
    q, k, v, do = (torch.randn(1, H, n, d, generator=generator).double() for n in (N, M or N, M or N, N))
    return [x.to(dtype).requires_grad_() for x in (q * large, k, v)], do.to(dtype)


def unfused(q, k, v, causal):
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(q, k, v, is_causal=causal)


def with_gradients(o, leaves, do):
    return [o.detach(), *torch.autograd.grad(o, leaves, do)]


def errors(got, want):
    """|got - want| / |want| of the output and each gradient."""
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(got, want, strict=True)]


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_unfused_kernel_of_pytorch_with_gradients(dtype, tol, causal):
    exact, do = inputs(RAGGED)
    want = with_gradients(unfused(*exact, causal), exact, do)
    given = [x.detach().to(dtype).requires_grad_() for x in exact]
    got = with_gradients(attention(*given, causal=causal, backend="tiled"), given, do.to(dtype))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tol, atol=tol)


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_errs_at_most_twice_as_much_as_naive_bfloat16(causal):
    half, do = inputs(RAGGED, dtype=torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in half]
    want = with_gradients(unfused(*exact, causal), exact, do.double())
    later = torch.ones(RAGGED, RAGGED, dtype=torch.bool).triu(1) if causal else torch.zeros(1, dtype=torch.bool)
    q, k, v = half
    naive = ((q @ k.mT) * q.shape[-1] ** -0.5).masked_fill(later, -torch.inf).softmax(-1) @ v
    ours = errors(with_gradients(attention(*half, causal=causal, backend="tiled"), half, do), want)
    theirs = errors(with_gradients(naive, half, do), want)
    assert all(a <= 2 * b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


@pytest.mark.parametrize("causal", [False, True])
def test_logits_of_ten_thousand_stay_exact_forward_and_backward(causal):
    leaves, do = inputs(RAGGED, large=1e4)
    q, k, _ = leaves
    assert 1e4 < float((q @ k.mT).detach().abs().amax()) / 4 < 1e5
    want = with_gradients(unfused(*leaves, causal), leaves, do)
    got = with_gradients(attention(*leaves, causal=causal, backend="tiled"), leaves, do)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    single = [x.detach().float().requires_grad_() for x in leaves]
    for x in with_gradients(attention(*single, causal=causal, backend="tiled"), single, do.float()):
        assert x.isfinite().all()


def test_whole_tiles_of_queries_without_a_key_give_zeros_and_no_gradient():
    leaves, do = inputs(2 * RAGGED, RAGGED)  # the first half of the queries stands before the first key
    o, lse = attention(*leaves, causal=True, return_lse=True, backend="tiled")
    assert (o[:, :, :RAGGED] == 0).all() and (lse[:, :, :RAGGED] == -torch.inf).all()
    dq, dk, dv = torch.autograd.grad(o, leaves, do)
    assert (dq[:, :, :RAGGED] == 0).all() and all(x.isfinite().all() for x in (dq, dk, dv))


def test_extra_memory_grows_by_as_much_for_each_further_token():
    def peak(N, which):
        leaves, do = inputs(N, H=1, dtype=torch.float32)
        if which == "forward":
            leaves = [x.detach() for x in leaves]
            return peak_bytes(lambda: attention(*leaves, causal=True, backend="tiled"))
        return peak_bytes(lambda: torch.autograd.grad(attention(*leaves, causal=True, backend="tiled"), leaves, do))

    for which in ("forward", "forward and backward"):
        short, middle, long = (peak(N, which) for N in (1024, 2048, 4096))
        assert long - middle == pytest.approx(2 * (middle - short), rel=0.05), which
        assert long < 4 * 4096**2 / 10, f"{which}: {long} bytes are a part of an N x N matrix"


def test_whole_numbers_are_refused_by_every_backend():
    whole = torch.ones(1, 1, 4, 2, dtype=torch.int64)
    for name in (None, *BACKENDS):
        with pytest.raises(ValueError, match=r"must be floating, got torch\.int64; call \.float\(\)"):
            attention(whole, whole, whole, backend=name)
