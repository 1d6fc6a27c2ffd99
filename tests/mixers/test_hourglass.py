"""Oracles: the Jacobian, which must be zero above the diagonal; the published form with its shift, written out."""

import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import Attention, Mamba
from seefar.mixers.hourglass import Hourglass, LinearResample, MeanResample, hourglass
from seefar.positions.rope import Rope
from seefar.testing import check_streaming

BOTH = pytest.mark.parametrize("resample", [LinearResample, MeanResample])


def make(hierarchy="1@1 1@3 1@1", dim=4, **options):
    torch.manual_seed(0)
    return hourglass(hierarchy, dim, "A F", A=lambda: Attention(dim, 2, rope=Rope(dim // 2)), **options).double()


@BOTH
def test_streams(resample):
    check_streaming(make(resample=resample), torch.randn(2, 17, 4))


def test_streams_nested_with_a_bounded_middle():
    torch.manual_seed(0)
    column = hourglass("1@1 1@2 1@4 1@2 1@1", 4, "M", M=lambda: Mamba(4, d_state=2))
    assert column.bounded and not make().bounded
    check_streaming(column, torch.randn(1, 15, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make()), torch.randn(2, 17, 4))


def reach(column, N=13):
    """(N, N) bool: whether the output of the row depends on the input of the column."""
    x = torch.randn(1, N, 4, dtype=torch.float64)
    # a plain sum over channels would be blind: that of a norm's output is always zero
    jacobian = torch.autograd.functional.jacobian(lambda x: column(x)[0][0] @ torch.tensor([1.0, 2, -3, 5]).double(), x)
    jacobian = jacobian[:, 0]
    return jacobian.abs().sum(-1) > 0


@BOTH
@pytest.mark.parametrize("hierarchy", ["1@1 1@2 1@1", "1@1 1@3 1@1", "1@1 1@4 1@1", "1@1 1@2 1@4 1@2 1@1"])
def test_no_output_feels_a_later_input_at_all(hierarchy, resample):
    found = reach(make(hierarchy, resample=resample))
    assert not found.triu(1).any() and found.diagonal().all()


def published(mixer, x, shift):
    """Shift by k - 1, cut, shorten, mix, lengthen, add: at a length that k divides."""
    k = mixer.factor
    moved = F.pad(x, (0, 0, shift, 0))[:, : x.shape[1]].unflatten(1, (-1, k))
    mixed, _ = mixer.inner(mixer.resample.down(moved))
    return x + mixer.norm(mixer.resample.up(mixer.short_norm(mixed))).flatten(1, 2)


@BOTH
@pytest.mark.parametrize("k", [1, 2, 3])
def test_is_the_published_form_and_without_its_shift_it_would_leak(k, resample):
    torch.manual_seed(0)
    mixer, x = Hourglass(4, Attention(4, 2), k, resample=resample).double(), torch.randn(2, 12, 4).double()
    torch.testing.assert_close(mixer(x)[0], published(mixer, x, k - 1), rtol=1e-12, atol=1e-12)
    leaks = reach(lambda x: (published(mixer, x, 0),), 12).triu(1).any()
    assert leaks == (k > 1)


def test_a_length_that_the_factor_does_not_divide_is_the_beginning_of_a_longer_one():
    column, x = make(), torch.randn(2, 15, 4).double()
    for N in (1, 2, 13, 14):
        torch.testing.assert_close(column(x[:, :N])[0], column(x)[0][:, :N], rtol=1e-12, atol=1e-12)


def test_the_middle_runs_at_a_fraction_of_the_length():
    column, lengths = make("1@1 2@4 1@1"), []
    column.blocks[1].inner.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    column(torch.randn(1, 16, 4).double())
    assert lengths == [4]


@pytest.mark.parametrize(
    ("hierarchy", "why"),
    [
        ("1@1 2@3", "the same read backwards"),
        ("1@2 2@4 1@2", "begin with a factor of 1"),
        ("1@1 1@2 1@3 1@2 1@1", "3 is no multiple of 2"),
        ("1@1 x 1@1", "is written as"),
        ("0@1 1@2 0@1", "at least one layer"),
    ],
)
def test_says_what_is_wrong_with_a_hierarchy(hierarchy, why):
    with pytest.raises(ValueError, match=why):
        make(hierarchy)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="must be causal"):
        Hourglass(4, Attention(4, 2, causal=False), 2)
    with pytest.raises(ValueError, match="factor=0"):
        Hourglass(4, Attention(4, 2), 0)
    with pytest.raises(ValueError, match="at least one token"):
        Hourglass(4, Attention(4, 2), 2)(torch.randn(1, 0, 4))
