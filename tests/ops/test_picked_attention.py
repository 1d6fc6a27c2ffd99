"""Backends agree, PyTorch's attention over the picked keys alone says the same, and nothing else is read."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.ops.picked_attention import BACKENDS, picked_attention
from seefar.testing import check_op


def inputs(N, M=None, H=4, Hkv=2, d=6, dv=5, B=2):
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (B, H, N, d), "k": (B, Hkv, M or N, d), "v": (B, Hkv, M or N, dv)}
    return {key: torch.randn(shape, generator=generator).double() for key, shape in shapes.items()}


def picks(M, width, count=4, B=2, H=4):
    generator, columns = torch.Generator().manual_seed(M), -(-M // width)
    rows = [torch.randperm(columns, generator=generator)[:count] for _ in range(B * H)]
    return torch.nn.functional.pad(torch.stack(rows), (0, 1), value=-1).view(B, H, -1)


@pytest.mark.parametrize("causal", [True, False])
def test_backends_agree_in_outputs_and_all_gradients(causal):
    def op(q, k, v, backend):
        return picked_attention(q, k, v, picks(k.shape[2], 3), width=3, causal=causal, backend=backend)

    check_op(op, BACKENDS, inputs, lengths=(1, 16, 63))
    check_op(op, BACKENDS, lambda N: inputs(N, 61), lengths=(1, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_one_agrees_where_there_are_no_gradients(dtype):
    given = {key: value.to(dtype) for key, value in inputs(1, 61).items()}
    got, want = (
        picked_attention(**given, blocks=picks(61, 3), width=3, backend=name) for name in ("numba", "reference")
    )
    torch.testing.assert_close(got, want, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)
    assert got.dtype == dtype


@pytest.mark.parametrize("name", BACKENDS)
def test_equals_scaled_dot_product_attention_over_the_picked_keys_alone(name):
    given = inputs(1, 40, H=2, Hkv=2, dv=6, B=1)
    blocks = torch.tensor([[[7, 0, -1], [2, 9, 4]]])
    for head in range(2):
        keys = [4 * b + i for b in blocks[0, head].tolist() if b >= 0 for i in range(4)]
        want = scaled_dot_product_attention(*(x[:, head : head + 1, at] for x, at in zip(
            given.values(), (slice(None), keys, keys), strict=True)))  # fmt: skip
        got = picked_attention(**given, blocks=blocks, width=4, backend=name)[:, head : head + 1]
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["numba", "gathered"])
def test_keys_that_are_not_picked_are_not_read(name):
    given = inputs(1, 41)
    blocks = torch.tensor([0, 2, 20]).expand(2, 4, -1)
    want = picked_attention(**given, blocks=blocks, width=2, backend=name)
    for x in (given["k"], given["v"]):
        x[:, :, 2:4], x[:, :, 6:40] = torch.nan, torch.nan
    assert torch.equal(picked_attention(**given, blocks=blocks, width=2, backend=name), want)


@pytest.mark.parametrize("name", BACKENDS)
def test_without_a_key_there_are_zeros(name):
    blocks = torch.full((2, 4, 2), -1)
    assert (picked_attention(**inputs(1, 9), blocks=blocks, backend=name) == 0).all()


def test_misfits_are_refused_with_what_to_do():
    given, blocks = inputs(3, 9), torch.zeros(2, 4, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"9 keys are 5 blocks of width=2.*from 0 to 5"):
        picked_attention(**given, blocks=blocks + torch.tensor([0, 5]), width=2)
    with pytest.raises(ValueError, match=r"blocks must be \(B, H, K\) int64"):
        picked_attention(**given, blocks=blocks[0])
    with pytest.raises(ValueError, match="their heads divide those of q"):
        picked_attention(given["q"][:, :3], given["k"], given["v"], blocks[:, :3])
    with pytest.raises(RuntimeError, match="needs a single query, got 3"):
        picked_attention(**given, blocks=blocks, backend="numba")
    one = {key: x.requires_grad_() for key, x in inputs(1, 9).items()}
    with pytest.raises(RuntimeError, match="has no gradients"):
        picked_attention(**one, blocks=blocks, backend="numba")
