"""Oracle: torch's own depthwise convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from seefar.ops.short_conv import BACKENDS, short_conv
from seefar.testing import check_op


def inputs(N, *, K=4, D=3, names=("x", "weight", "bias", "past"), B=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(N)
    shapes = {"x": (B, N, D), "weight": (D, K), "bias": (D,), "past": (B, K - 1, D)}
    return {name: torch.randn(shapes[name], generator=generator, dtype=dtype) for name in names}


def by_torch(x, weight, bias, past, silu):
    y = F.conv1d(torch.cat([past, x], 1).mT, weight[:, None], bias, groups=len(weight)).mT
    return F.silu(y) if silu else y


@pytest.mark.parametrize("K", [1, 2, 4, 7])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("names", [("x", "weight"), ("x", "weight", "bias", "past")])
def test_backends_agree_with_the_loop_in_outputs_gradients_and_past(K, silu, names):
    check_op(short_conv, BACKENDS, lambda N: inputs(N, K=K, names=names), silu=silu, lengths=(1, 3, 33))


@pytest.mark.parametrize("backend", ["numba", "shifted"])
@pytest.mark.parametrize("silu", [False, True])
def test_equals_torch_and_its_gradients_over_several_pieces(backend, silu):
    given = {name: t.requires_grad_() for name, t in inputs(600, D=5).items()}
    weight = torch.randn(2, 600, 5, dtype=torch.float64)
    got, want = short_conv(**given, silu=silu, backend=backend)[0], by_torch(**given, silu=silu)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    mine, theirs = (torch.autograd.grad((y * weight).sum(), [*given.values()]) for y in (got, want))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 2, 29])
def test_chunks_with_their_past_are_the_whole(backend, size):
    given = inputs(30)
    whole, end = short_conv(**given, silu=True)
    rows, past = [], given["past"]
    for piece in given["x"].split(size, 1):
        y, past = short_conv(piece, given["weight"], given["bias"], past, silu=True, backend=backend)
        rows.append(y)
    torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(past, end, rtol=0, atol=0)


@pytest.mark.parametrize("N", [1, 2, 9])
def test_the_past_after_a_chunk_has_its_gradient_too(N):
    given = inputs(N, B=1, D=2)
    for tensor in given.values():
        tensor.requires_grad_()
    assert gradcheck(lambda x, w, b, p: short_conv(x, w, b, p, silu=True, backend="numba"), [*given.values()])


def test_a_part_of_a_wider_tensor_is_read_where_it_stands():
    wide = torch.randn(2, 50, 12)
    part = wide[:, 3:47, 4:9]
    _, weight, bias = inputs(1, D=5, names=("x", "weight", "bias"), dtype=torch.float32).values()
    got = short_conv(part, weight, bias, backend="numba")[0]
    torch.testing.assert_close(got, short_conv(part.clone(), weight, bias, backend="reference")[0])
    turned = torch.randn(2, 5, 44).mT
    got = short_conv(turned, weight, bias, backend="numba")[0]
    torch.testing.assert_close(got, short_conv(turned.contiguous(), weight, bias, backend="reference")[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_past_is_a_copy_and_no_tokens_leave_it_as_it_is(backend):
    given = inputs(8)
    _, past = short_conv(**given, backend=backend)
    assert past.untyped_storage().nbytes() == past.numel() * 8
    y, same = short_conv(given["x"][:, :0], given["weight"], given["bias"], past, backend=backend)
    assert y.shape == (2, 0, 3) and torch.equal(same, past)


@pytest.mark.parametrize(
    ("change", "say"),
    [
        ({"x": torch.zeros(2, 3)}, r"x must be \(B, N, D\)"),
        ({"weight": torch.zeros(3, 1, 4)}, r"weight\[:, 0\]"),
        ({"weight": torch.zeros(2, 4)}, r"weight must be \(3, 4\)"),
        ({"past": torch.zeros(2, 4, 3)}, r"past must be \(2, 3, 3\)"),
        ({"bias": torch.zeros(3, dtype=torch.float64)}, r"call bias.to\(x\) first"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, say):
    given = inputs(5, dtype=torch.float32) | change
    with pytest.raises(ValueError, match=say):
        short_conv(**given)
