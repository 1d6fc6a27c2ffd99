"""Oracles: the composed filters as one long convolution, and what is known of the Haar wavelet."""

import math

import pytest
import torch

from seefar.mixers.multires import Multires, MultiresConv
from seefar.ops.dilated_conv import dilated_conv
from seefar.ops.long_conv import long_conv
from seefar.testing import check_streaming

HAAR = ([2**-0.5, 2**-0.5], [2**-0.5, -(2**-0.5)])


def make(dim=3, **options):
    torch.manual_seed(0)
    return MultiresConv(dim, **options).double()


@pytest.mark.parametrize("layer", [MultiresConv, Multires])
def test_streams(layer):
    torch.manual_seed(0)
    check_streaming(layer(3, kernel=3, cover=14), torch.randn(2, 33, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make(kernel=2, cover=16)), torch.randn(2, 33, 3))


def stretched(taps, apart):
    out = taps.new_zeros(1 + (len(taps) - 1) * apart, taps.shape[1])
    out[::apart] = taps
    return out


def composed(mixer, length):
    """(length, D) the one filter that all scales make together, by convolving filters with each other."""
    low, high, w = mixer.low.detach(), mixer.high.detach(), mixer.weights.detach()
    J = math.ceil(math.log2((length - 1) / (len(low) - 1) + 1))
    assert w.shape[0] == J + 2
    so_far, total = torch.ones(1, low.shape[1]).double(), torch.zeros(4 * length, low.shape[1]).double()
    total[0] = w[J + 1]
    for j in range(J):
        both = [long_conv(pad(so_far, 4 * length)[None], stretched(f, 2**j))[0] for f in (high, low)]
        total, so_far = total + w[j] * both[0], both[1]
    return (total + w[J] * so_far)[:length]


def pad(taps, length):
    return torch.cat([taps, taps.new_zeros(max(0, length - len(taps)), taps.shape[1])])[:length]


@pytest.mark.parametrize(("kernel", "length"), [(2, 64), (2, 65), (3, 50), (4, 100)])
def test_equals_one_filter_composed_of_all_scales(kernel, length):
    mixer, x = make(kernel=kernel, cover=length), torch.randn(2, length, 3).double()
    want = long_conv(x, composed(mixer, length))
    torch.testing.assert_close(mixer(x)[0], want, rtol=1e-10, atol=1e-10)


def test_all_scales_share_one_pair_of_filters():
    mixer = make(5, kernel=4, cover=1000)
    J = len(mixer.dilations)
    assert sum(p.numel() for p in mixer.parameters()) == 5 * (2 * 4 + J + 2)
    assert mixer.dilations == tuple(2**j for j in range(9)) and mixer.reach == 1 + 3 * (2**9 - 1) >= 1000


def test_output_moves_along_with_its_input():
    mixer, x = make(kernel=2, cover=32), torch.randn(1, 60, 3).double()
    later = torch.cat([torch.zeros(1, 3, 3), x], 1).double()
    torch.testing.assert_close(mixer(later)[0][:, 3:], mixer(x)[0], rtol=1e-12, atol=1e-12)


def test_haar_scales_keep_energy_and_give_the_input_back():
    signal = torch.randn(1, 64, 1, generator=torch.Generator().manual_seed(1)).double()
    around = torch.cat([signal, signal], 1)  # the second copy sees what a circular filter would
    low, high = (torch.tensor(taps, dtype=torch.float64)[None, :, None] for taps in HAAR)
    level = around
    for j in range(5):
        nothing = torch.zeros(1, dtype=torch.float64)
        coarse, _ = dilated_conv(level, low, dilations=(2**j,))
        fine, _ = dilated_conv(level, torch.zeros_like(low), high, nothing, dilations=(2**j,))
        a, b, c = (part[:, 64:].square().sum() for part in (level, fine, coarse))
        torch.testing.assert_close(b + c, 2 * a, rtol=1e-10, atol=0)
        torch.testing.assert_close((coarse + fine) * 2**-0.5, level, rtol=1e-10, atol=1e-10)
        level = coarse


def test_begins_with_the_filters_it_is_given():
    mixer = make(2, cover=8, filters=HAAR)
    for taps, want in zip((mixer.low, mixer.high), HAAR, strict=True):
        torch.testing.assert_close(taps, torch.tensor(want).double()[:, None].expand(2, 2), rtol=1e-6, atol=1e-6)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"filters of 2 taps or more .* 1 taps"):
        MultiresConv(4, kernel=1)
    with pytest.raises(ValueError, match="cover=1"):
        MultiresConv(4, cover=1)
    with pytest.raises(ValueError, match="both filters have as many taps, got 2 and 3"):
        MultiresConv(4, filters=([1, 1], [1, 1, 1]))
    with pytest.raises(ValueError, match=r"mixer.float\(\)"):
        MultiresConv(4).bfloat16()(torch.randn(1, 3, 4).bfloat16())
