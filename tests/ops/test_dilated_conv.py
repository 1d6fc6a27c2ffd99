"""Oracles: torch's own convolution level by level, and the matrix of the composed filter."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from seefar.ops import explain
from seefar.ops.dilated_conv import BACKENDS, dilated_conv
from seefar.testing import check_op

DILATIONS = (1, 4, 2)


def inputs(N, *, K=3, D=3, names=("x", "low", "high", "tail", "past"), B=2):
    generator = torch.Generator().manual_seed(N)
    J, P = len(DILATIONS), (K - 1) * sum(DILATIONS)
    shapes = {"x": (B, N, D), "low": (J, K, D), "high": (J, K, D), "tail": (D,), "past": (B, P, D)}
    return {name: torch.randn(shapes[name], generator=generator, dtype=torch.float64) for name in names}


@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("names", [("x", "low"), ("x", "low", "high", "past"), ("x", "low", "high", "tail")])
def test_backends_agree_with_the_loop_in_outputs_gradients_and_past(K, names):
    check_op(
        dilated_conv,
        BACKENDS,
        lambda N: inputs(N, K=K, D=1 if N > 10 else 17, names=names, B=1),
        dilations=DILATIONS,
        lengths=(1, 3, 33),
    )


@pytest.mark.parametrize("backend", ["numba", "shifted"])
def test_equals_torch_level_by_level_over_several_tiles(backend):
    generator = torch.Generator().manual_seed(0)
    K, apart = 6, (1, 3, 200)
    x, low, high = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 1300, 3), (3, K, 3), (3, K, 3))
    )
    level, want = x.mT, torch.zeros(2, 3, 1300, dtype=torch.float64)
    for j, d in enumerate(apart):
        padded = F.pad(level, (d * (K - 1), 0))
        taps = [f[j].flip(0).T[:, None] for f in (low, high)]
        level, more = (F.conv1d(padded, tap, dilation=d, groups=3) for tap in taps)
        want = want + more
    want = (want + level).mT
    got, _ = dilated_conv(x, low, high, dilations=apart, backend=backend)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    weight = torch.randn(got.shape, generator=generator, dtype=torch.float64)
    grads = [torch.autograd.grad((y * weight).sum(), (x, low, high)) for y in (got, want)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_a_cascade_is_the_matrix_of_its_composed_filter():
    given = inputs(40, names=("x", "low"))
    kernel = torch.ones(1, 3, dtype=torch.float64)
    for taps, d in zip(given["low"], DILATIONS, strict=True):
        longer = kernel.new_zeros(len(kernel) + 2 * d, 3)
        for k in range(3):
            longer[k * d : k * d + len(kernel)] += taps[k] * kernel
        kernel = longer
    lag = torch.arange(40)[:, None] - torch.arange(40)
    matrix = torch.where(((lag >= 0) & (lag < 15))[..., None], kernel[lag.clamp(0, 14)], 0)
    want = torch.einsum("tsd,bsd->btd", matrix, given["x"])
    torch.testing.assert_close(dilated_conv(**given, dilations=DILATIONS)[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_impulse_shows_on_the_claimed_tokens_and_on_no_other(backend):
    x = torch.zeros(1, 60, 1)
    x[0, 9] = 1
    y, _ = dilated_conv(x, torch.ones(3, 2, 1), dilations=(1, 2, 4), backend=backend)
    assert y.flatten().nonzero().flatten().tolist() == list(range(9, 17))
    sparse, _ = dilated_conv(x, torch.ones(1, 3, 1), dilations=(20,), backend=backend)
    assert sparse.flatten().nonzero().flatten().tolist() == [9, 29, 49]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 7, 29])
def test_chunks_with_their_past_are_the_whole(backend, size):
    given = inputs(30)
    whole, end = dilated_conv(**given, dilations=DILATIONS)
    pieces, past = [], given["past"]
    for piece in given["x"].split(size, 1):
        y, past = dilated_conv(
            piece, given["low"], given["high"], given["tail"], past, dilations=DILATIONS, backend=backend
        )
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(past, end, rtol=1e-12, atol=1e-12)


def test_gradients_match_finite_differences():
    given = [value.requires_grad_() for value in inputs(5, K=2, D=2, B=1).values()]
    assert gradcheck(lambda *args: dilated_conv(*args, dilations=DILATIONS), given)


def test_fourteen_levels_in_float32_keep_six_digits():
    generator = torch.Generator().manual_seed(0)
    apart = [2**j for j in range(14)]
    x, low, high = (torch.randn(s, generator=generator).double() for s in ((1, 3000, 2), (14, 2, 2), (14, 2, 2)))
    want, _ = dilated_conv(x, low, high, dilations=apart)
    got, _ = dilated_conv(x.float(), low.float(), high.float(), dilations=apart)
    assert (got - want).norm() <= 1e-6 * want.norm()


def test_without_tokens_the_past_is_what_it_was():
    given = inputs(0)
    y, past = dilated_conv(**given, dilations=DILATIONS)
    assert y.shape == (2, 0, 3) and torch.equal(past, given["past"])


def test_says_what_is_wrong():
    given = inputs(4)
    with pytest.raises(ValueError, match=r"3 levels need as many dilations, each at least 1, got \(1, 0, 2\)"):
        dilated_conv(**given, dilations=(1, 0, 2))
    with pytest.raises(ValueError, match=r"past must be \(2, 14, 3\)"):
        dilated_conv(**given | {"past": torch.zeros(2, 5, 3).double()}, dilations=DILATIONS)
    with pytest.raises(ValueError, match=r"low is torch.float32 .* call low.to\(x\) first"):
        dilated_conv(**given | {"low": given["low"].float()}, dilations=DILATIONS)
    with pytest.raises(ValueError, match="with a level and a tap"):
        dilated_conv(given["x"], given["low"][:, :0], dilations=DILATIONS)
    assert "dilated_conv.shifted: runs" in explain("dilated_conv", torch.ones(1, 2, 1, dtype=torch.bfloat16))
