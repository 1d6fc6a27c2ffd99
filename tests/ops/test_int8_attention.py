"""Oracles: attention in float64, products of whole numbers written out, the equation of rounding."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from seefar.ops.attention import attention
from seefar.ops.int8_attention import BACKENDS, LEVELS, int8_attention
from seefar.ops.int8_attention.numba import _keys, _queries
from seefar.ops.int8_attention.quantize import centred, quantize_int8
from seefar.ops.int8_attention.reference import products
from seefar.ops.int8_attention.rules import Rounded


def inputs(N, M=None, H=2, Hkv=None, d=64, dv=None, B=1):
    draw = torch.Generator().manual_seed(N + d)
    sizes = ((H, N, d), (Hkv or H, M or N, d), (Hkv or H, M or N, dv or d))
    return [torch.randn(B, *size, generator=draw) for size in sizes]


def away(got, want):
    """Relative L1 and cosine."""
    got, want = got.double().flatten(), want.double().flatten()
    return float((got - want).abs().sum() / want.abs().sum()), float(cosine_similarity(got, want, 0))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "sizes", [(257,), (100, None, 4, 1), (7, 200, 4, 2, 5, 3), (1, 77), (130, None, 2, 2, 64, 80, 2), (20, 9)]
)
def test_backends_agree_and_are_near_to_exact_attention(sizes, causal):
    q, k, v = inputs(*sizes)
    want, want_lse = attention(*(x.double() for x in (q, k, v)), causal=causal, return_lse=True, backend="reference")
    seen = want_lse > -torch.inf
    for kind, bar in (("qk", 0.02), ("all", 0.03)):
        found = {
            name: int8_attention(q, k, v, causal=causal, kind=kind, return_lse=True, backend=name) for name in BACKENDS
        }
        (o, lse), (other, other_lse) = found.values()
        step = 4 / LEVELS[kind][0]  # a weight that falls to the other side of a half, times a value
        torch.testing.assert_close(o, other, rtol=0, atol=2 * step)
        torch.testing.assert_close(lse, other_lse, rtol=1e-5, atol=1e-5)
        assert away(o, want)[0] < bar
        assert (o[~seen] == 0).all() and (lse[~seen] == -torch.inf).all()
        errors = (lse - want_lse)[seen].abs()
        assert errors.mean() < 0.01 and errors.max() < 0.06


def test_whole_products_are_the_same_to_the_bit():
    from seefar.ops.int8_attention import _kernels

    q, k, _ = inputs(130, 200, 1, d=37)
    how = Rounded(False, 1.0, 127, 127)
    (left, q_scale), (right, k_scale) = _queries(q, how), _keys(k, how)
    out = np.empty((132, 128), np.int32)
    for t in range(2):
        _kernels.products(left[0], right[0, t], out)
        whole = torch.from_numpy(out[:130].astype(np.float64))
        scale = torch.from_numpy(np.repeat(q_scale[0], 128)[:130, None] * k_scale[0, t] / math.log2(math.e))
        want = products(q, k, how)[0, 0, :, 128 * t : 128 * t + 128]
        torch.testing.assert_close((whole * scale)[:, : want.shape[1]], want, rtol=1e-6, atol=0)
        q8, k8 = (quantize_int8(x, "block", block=size)[0][0, 0].long() for x, size in ((q, 128), (k, 128)))
        assert torch.equal(whole[:, : want.shape[1]].long(), q8 @ k8[128 * t : 128 * t + 128].T)


def test_the_largest_products_do_not_overflow():
    q, k, v = torch.full((1, 1, 4, 4096), 3.0), torch.full((1, 1, 64, 4096), 3.0), torch.ones(1, 1, 64, 16)
    for kind in LEVELS:
        o, lse = int8_attention(q, k, v, kind=kind, smooth=False, return_lse=True)
        torch.testing.assert_close(o, torch.ones(1, 1, 4, 16), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(lse, torch.full((1, 1, 4), 9 * 64 + math.log(64)), rtol=1e-4, atol=0.0)


def test_a_mean_taken_off_all_keys_changes_nothing_in_exact_arithmetic():
    q, k, v = (x.double() for x in inputs(80))
    less, mean = centred(k + 5)
    o, lse = attention(q, k + 5, v, return_lse=True, backend="reference")
    same, shifted = attention(q, less, v, return_lse=True, backend="reference")
    torch.testing.assert_close(same, o, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shifted + (q * mean).sum(-1) / 8, lse, rtol=1e-12, atol=1e-12)


def test_what_all_keys_share_costs_no_bits_once_it_is_taken_off():
    q, k, v = inputs(512)
    k = k + 30 * torch.randn(64, generator=torch.Generator().manual_seed(9))
    want, lse = attention(*(x.double() for x in (q, k, v)), return_lse=True, backend="reference")
    (smooth, found_lse), rough = int8_attention(q, k, v, return_lse=True), int8_attention(q, k, v, smooth=False)
    assert away(smooth, want)[0] * 10 <= away(rough, want)[0]
    assert away(smooth, want)[1] >= 0.9995 and away(rough, want)[1] < 0.99
    assert (found_lse - lse).abs().mean() < 0.01


def test_normal_and_outlying_channels_keep_three_nines():
    for outlying in (False, True):
        q, k, v = inputs(1024)
        if outlying:
            k[..., 5], k[..., 40] = k[..., 5] + 50, k[..., 40] - 20
        off, near = away(int8_attention(q, k, v), scaled_dot_product_attention(*(x.double() for x in (q, k, v))))
        assert near >= 0.9995 and off <= 0.03


def test_the_error_of_8_bit_weights_grows_with_the_keys_and_that_of_12_bits_does_not():
    def off(kind, M):
        q, k, v = inputs(16, M)
        return away(int8_attention(q, k, v, kind=kind), scaled_dot_product_attention(*(x.double() for x in (q, k, v))))[
            0
        ]

    few, many = ({kind: off(kind, M) for kind in LEVELS} for M in (128, 16384))
    assert many["all"] > 1.5 * few["all"] and many["qk"] < 1.3 * few["qk"]


def test_values_and_queries_of_zeros_are_no_trouble():
    q, k, v = inputs(70)
    torch.testing.assert_close(int8_attention(0 * q, k, v)[0, 0, 3], v[0, 0].mean(0), rtol=0, atol=0.01)
    assert (int8_attention(q, 0 * k, 0 * v) == 0).all()
    tiny = int8_attention(q * 1e-20, k * 1e-20, v, causal=True)  # what may not be seen stays unseen at any scale
    torch.testing.assert_close(tiny[0, :, 1], v[0, :, :2].mean(1), rtol=0, atol=0.01)
    assert int8_attention(q[:, :, :0], k, v).shape == (1, 2, 0, 64)
    assert (int8_attention(q, k[:, :, :0], v[:, :, :0], return_lse=True)[1] == -torch.inf).all()


def test_half_precision_comes_back_as_it_came():
    q, k, v = (x.bfloat16() for x in inputs(64))
    o = int8_attention(q, k, v)
    assert (
        o.dtype == torch.bfloat16
        and away(o, scaled_dot_product_attention(q.double(), k.double(), v.double()))[0] < 0.02
    )


@pytest.mark.parametrize("group", ["token", "block", "channel", "tensor"])
@pytest.mark.parametrize("levels", [127, 2047])
def test_rounding_is_within_half_a_step_of_the_groups_largest(group, levels):
    x = torch.randn(2, 100, 6, generator=torch.Generator().manual_seed(0))
    numbers, scale = quantize_int8(x, group, block=64, levels=levels)
    assert numbers.dtype == (torch.int8 if levels == 127 else torch.int16) and numbers.abs().max() == levels
    assert ((numbers * scale - x).abs() <= scale * 0.5001).all()
    groups = {"token": x.abs().amax(2, True), "channel": x.abs().amax(1, True), "tensor": x.abs().amax((1, 2), True)}
    groups["block"] = torch.cat(
        [part.abs().amax((1, 2), True).expand(-1, part.shape[1], 1) for part in x.split(64, 1)], 1
    )
    torch.testing.assert_close(scale, groups[group] / levels)


def test_halves_are_rounded_away_from_zero_and_zeros_have_a_scale():
    numbers, scale = quantize_int8(torch.tensor([[127.0, 0.5, -0.5, 1.5, -2.5], [0, 0, 0, 0, 0]]))
    assert numbers.tolist() == [[127, 1, -1, 2, -3], [0, 0, 0, 0, 0]] and scale.flatten().tolist() == [1, 1]


def test_misfits_are_refused_with_what_to_do():
    q, k, v = inputs(8)
    with pytest.raises(ValueError, match=r"has no gradients; call it under torch\.no_grad\(\)"):
        int8_attention(q.requires_grad_(), k, v)
    with torch.no_grad():
        int8_attention(q, k, v)
    with pytest.raises(ValueError, match="kind is 'qk' or 'all', got 'fp8'"):
        int8_attention(q.detach(), k, v, kind="fp8")
    with pytest.raises(ValueError, match="2 query heads cannot share 3 key heads"):
        int8_attention(q.detach(), k[:, [0, 0, 1]], v[:, [0, 0, 1]])
    with pytest.raises(ValueError, match="unknown backend 'cuda'"):
        int8_attention(q.detach(), k, v, backend="cuda")
    with pytest.raises(ValueError, match="group is 'token'"):
        quantize_int8(k, "row")
    with pytest.raises(ValueError, match="levels from 1 to 32767"):
        quantize_int8(k, levels=0)
    with pytest.raises(ValueError, match="floating"):
        quantize_int8(torch.ones(2, 2, dtype=torch.int64))
