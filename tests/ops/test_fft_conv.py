"""Oracles: SciPy's lfilter, torch.fft in float64, sums written out; products are counted by PyTorch's dispatcher."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from seefar.ops.fft_conv import BACKENDS, fft_conv
from seefar.ops.fft_conv.butterfly import inverse, transform
from seefar.ops.fft_conv.plan import default_factors, planned
from seefar.ops.long_conv import long_conv
from seefar.testing import check_op

FACTORS = [(16, 16), (4, 8, 8), (2,) * 8, (5, 3, 17), (256,), (32, 8)]


def inputs(N, taps=None, *rest, gates=True):
    generator = torch.Generator().manual_seed(N)
    made = {name: torch.randn(2, N, *rest, generator=generator).double() for name in ("u", "pre_gate", "post_gate")}
    made["k"] = torch.randn(taps or N, *rest, generator=generator).double()
    return made if gates else {name: made[name] for name in ("u", "k")}


def products(*args, **how):
    with FlopCounterMode(display=False) as counter:
        fft_conv(*args, backend="monarch", **how)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("factors", FACTORS)
def test_any_factors_give_the_fourier_transform_in_the_order_of_its_digits(factors):
    n, x = math.prod(factors), torch.randn(1, math.prod(factors) - 3, 2).double()
    found = transform(x, factors, factors, mean=False)
    found = torch.complex(found[:, 0], found[:, 1]).reshape(*factors, 2)
    order = (
        np.arange(n).reshape(factors[::-1]).transpose()
    )  # digit 1 counts single frequencies, the last the largest steps
    torch.testing.assert_close(
        found, torch.fft.fft(x[0], n, dim=0)[torch.from_numpy(order.copy())], rtol=1e-10, atol=1e-10
    )
    back = inverse(transform(x, factors, factors, mean=True), n - 3, factors, factors)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factors", FACTORS)
def test_any_factors_filter_as_scipy_does(factors):
    u, k = inputs(127, 101, 3, gates=False).values()
    got = fft_conv(u, k, backend="monarch", factors=factors)
    for d in range(3):
        want = torch.from_numpy(lfilter(k[:, d].numpy(), [1.0], u[..., d].numpy(), axis=1))
        torch.testing.assert_close(got[..., d], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("taps", "rest"), [(None, (3,)), (7, (2,)), (None, ())])
def test_backends_agree_in_outputs_and_all_gradients_with_gates(taps, rest):
    check_op(fft_conv, BACKENDS, lambda N: inputs(N, taps, *rest), lengths=(1, 2, 63, 100))


def test_backends_agree_on_some_taps_and_on_some_frequencies():
    check_op(fft_conv, BACKENDS, lambda N: inputs(N, None, 2), lengths=(33, 64), keep_time=9, factors=(4, 8))
    for kept in ((4, 8), (4, 2), (3, 8), (2, 3)):
        given = {"keep_freq": kept, "factors": (4, 8)}
        check_op(fft_conv, BACKENDS, lambda N: inputs(N, 5, 2), lengths=(1, 17, 28), **given)


def test_gates_inside_are_gates_around():
    u, pre, post, k = inputs(40, None, 3).values()
    whole = fft_conv(u, k, pre_gate=pre, post_gate=post, backend="monarch")
    torch.testing.assert_close(whole, post * long_conv(pre * u, k), rtol=1e-10, atol=1e-10)


def test_an_impulse_gives_the_taps_and_never_wraps_around():
    k = torch.randn(64, 2).double()
    for at in (0, 1, 63):
        u = torch.zeros(1, 64, 2).double()
        u[:, at] = 1
        y = fft_conv(u, k, backend="monarch", factors=(8, 16))
        torch.testing.assert_close(y[0, at:], k[: 64 - at], rtol=1e-12, atol=1e-12)
        assert y[0, :at].abs().max() < 1e-12 if at else True


def test_some_taps_are_those_of_a_filter_cut_off_and_long_sequences_pass_in_pieces():
    u, k = inputs(301, None, 2, gates=False).values()
    cut = torch.where(torch.arange(301)[:, None] < 20, k, 0)
    want = long_conv(u, cut)
    for factors in (None, (8, 8), (32, 32)):
        got = fft_conv(u, k, keep_time=20, factors=factors, backend="monarch")
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    plan = planned(301, 20)
    assert plan.slides and plan.size < 301 and plan.pieces * plan.step >= 301
    assert products(u, k, keep_time=20) < products(u, k) / 2


def test_kept_frequencies_are_those_of_a_spectrum_set_to_zero():
    u, k = inputs(40, None, 2, gates=False).values()
    frequency = torch.arange(65)  # f = k_1 + 8 k_2
    for kept, stays in (
        ((8, 2), frequency < 16),
        ((3, 16), frequency % 8 < 3),
        ((5, 4), (frequency % 8 < 5) & (frequency < 32)),
    ):
        spectrum = torch.fft.rfft(k, 128, dim=0) * stays[:, None]
        want = torch.fft.irfft(torch.fft.rfft(u, 128, dim=1) * spectrum, 128, dim=1)[:, :40]
        got = fft_conv(u, k, keep_freq=kept, factors=(8, 16), backend="monarch")
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factors", [(8, 16), (4, 8, 8), (16, 16)])
@pytest.mark.parametrize(("N", "taps"), [(64, 64), (50, 9), (33, 20)])
def test_products_that_are_executed_are_those_of_the_formula(factors, N, taps):
    u, k = inputs(N, taps, 3, gates=False).values()
    assert products(u, k, factors=factors) == planned(N, taps, factors).multiply_adds(2, 3)
    kept = (*factors[:-1], 2)
    assert products(u, k, factors=factors, keep_freq=kept) == planned(N, taps, factors, kept).multiply_adds(2, 3)


def test_products_fall_in_proportion_to_the_frequencies_kept_and_to_the_tokens_there():
    u, k = torch.randn(1, 512, 4), torch.randn(512, 4)
    counts = {c: products(u, k, factors=(32, 32), keep_freq=(c, 17)) for c in (32, 16, 8)}
    assert counts[16] * 2 == counts[32] and counts[8] * 4 == counts[32]  # all stages see the first digit
    last = {c: products(u, k, factors=(32, 32), keep_freq=(32, c)) for c in (16, 8, 4)}
    assert last[16] - last[8] == 2 * (last[8] - last[4])  # only the last stage sees the last digit
    half, whole = (planned(n, 1024, (32, 64)).multiply_adds(1, 4) for n in (512, 1024))
    filter_alone = planned(1, 1024, (32, 64)).multiply_adds(0, 4)
    first_and_last = 4 * 32 * 2 * 32 * 64  # these two stages alone know of the padding
    assert (whole - filter_alone) - (half - filter_alone) == first_and_last * 16 // 32


def test_it_takes_several_times_the_operations_of_an_fft():
    n = 4096
    ratio = 2 * planned(n // 2, n // 2, (16, 16, 16)).multiply_adds(1, 1) / (3 * 2.5 * n * math.log2(n))
    assert 3 < ratio < 17  # real transforms of half-empty inputs; the published 8 to 17 are for complex and full ones


def test_gradients_match_finite_differences():
    leaves = [x.requires_grad_() for x in (inputs(9, 5, 2)[name] for name in ("u", "k", "pre_gate", "post_gate"))]

    def call(u, k, pre, post):
        return fft_conv(u, k, pre_gate=pre, post_gate=post, backend="monarch", factors=(4, 4))

    assert gradcheck(call, leaves)
    assert gradcheck(lambda u, k: fft_conv(u, k, backend="monarch", factors=(4, 3)), leaves[:2])  # in pieces


def test_the_backward_keeps_inputs_alone():
    kept = []
    leaves = [x.requires_grad_() for x in inputs(40, None, 2).values()]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        fft_conv(leaves[0], leaves[3], pre_gate=leaves[1], post_gate=leaves[2], backend="monarch")
    assert {x.untyped_storage().data_ptr() for x in kept} == {x.untyped_storage().data_ptr() for x in leaves}


@pytest.mark.parametrize(("dtype", "bar"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3), (torch.float32, 1e-6)])
def test_half_precision_keeps_its_digits(dtype, bar):
    u, k = (x.to(dtype) for x in inputs(500, None, 4, gates=False).values())
    want = long_conv(u.double(), k.double())
    got = fft_conv(u, k, backend="monarch", factors=(32, 32))
    assert got.dtype == dtype and (got.double() - want).norm() / want.norm() < bar
    if dtype != torch.float32:
        torch.testing.assert_close(fft_conv(u, k, factors=(32, 32)), got)  # no FFT takes it


def test_default_factors_are_those_of_the_release():
    sizes = {256: (16, 16), 1024: (32, 32), 4096: (16, 16, 16), 8192: (32, 16, 16), 32768: (32, 32, 32)}
    assert {n: default_factors(n) for n in sizes} == sizes
    assert all(n <= math.prod(default_factors(n)) < max(2 * n, 5) for n in range(1, 3000))


def test_misfits_are_refused_with_what_to_do():
    u, k = torch.ones(2, 64, 3), torch.ones(64, 3)
    with pytest.raises(
        ValueError, match=r"transform of 64, but 64 tokens and 64 taps need 127.*give factors=\(16, 8\)"
    ):
        fft_conv(u, k, factors=(8, 8))
    with pytest.raises(ValueError, match=r"ints of at least 2, such as \(32, 32, 32\), got \(1, 128\)"):
        fft_conv(u, k, factors=(1, 128))
    with pytest.raises(ValueError, match=r"a count from 1 to N_i for each of \(8, 16\), got \(8,\)"):
        fft_conv(u, k, factors=(8, 16), keep_freq=(8,))
    with pytest.raises(ValueError, match="give factors="):
        fft_conv(u, k, keep_freq=(8, 2))
    with pytest.raises(ValueError, match=r"needs real numbers, got torch\.complex64"):
        fft_conv(u.to(torch.complex64), k.to(torch.complex64))
    with pytest.raises(RuntimeError, match=r"float16 may overflow with more than 512 taps, got 600; call \.bfloat16"):
        fft_conv(torch.ones(1, 600, 1).half(), torch.ones(600, 1).half(), backend="monarch")
    with pytest.raises(ValueError, match="keep_time must be at least 1 tap"):
        fft_conv(u, k, keep_time=0)
    with pytest.raises(ValueError, match=r"pre_gate must be like u, \(2, 64, 3\), got \(2, 63, 3\)"):
        fft_conv(u, k, pre_gate=u[:, 1:])
    with pytest.raises(ValueError, match=r"post_gate is torch\.float64.*call \.to\(u\)"):
        fft_conv(u, k, post_gate=u.double())
    with pytest.raises(ValueError, match=r"got \(2, 64, 3\) and \(64,\)"):
        fft_conv(u, torch.ones(64))
    with pytest.raises(ValueError, match=r"\(3,\), or 1 to share taps; got \(2,\)"):
        fft_conv(u, torch.ones(64, 2))
    with pytest.raises(ValueError, match="needs a token and a tap"):
        fft_conv(u, torch.ones(0, 3))
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*fft"):
        fft_conv(u, k, backend="cuda")
