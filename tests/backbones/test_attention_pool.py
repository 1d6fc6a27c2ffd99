"""One query reads each picture of a row, and none reads its neighbour."""

import pytest
import torch
from torch import Tensor, nn

from seefar.backbones import AttentionPool


def _of_transformers() -> tuple[nn.Module, AttentionPool]:
    """The pooling head of Siglip2 with weights that hide no mistake, and ours with the same."""
    from transformers import Siglip2VisionConfig
    from transformers.models.siglip2.modeling_siglip2 import Siglip2MultiheadAttentionPoolingHead

    config = Siglip2VisionConfig(
        hidden_size=12, num_attention_heads=3, intermediate_size=48, layer_norm_eps=1e-6, hidden_act="gelu"
    )
    config._attn_implementation = "eager"
    theirs = Siglip2MultiheadAttentionPoolingHead(config).eval().double()
    ours = AttentionPool(12, 3).double()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        ours.probe.copy_(theirs.probe[0, 0])
        names = ("q_proj", "k_proj", "v_proj")
        inward = zip(theirs.attention.in_proj_weight.chunk(3), theirs.attention.in_proj_bias.chunk(3), strict=True)
        for name, (weight, bias) in zip(names, inward, strict=True):
            getattr(ours, name).weight.copy_(weight)
            getattr(ours, name).bias.copy_(bias)
        ours.o_proj.load_state_dict(theirs.attention.out_proj.state_dict())
        for mine, their in ((0, theirs.layernorm), (1, theirs.mlp.fc1), (3, theirs.mlp.fc2)):
            ours.mlp[mine].load_state_dict(their.state_dict())
    return theirs, ours


@pytest.mark.parametrize("backend", [None, "tiled", "reference"])
def test_packed_rows_give_what_siglip2_gives_for_padded_ones(backend):
    theirs, ours = _of_transformers()
    ours.backend = backend
    lengths = [5, 1, 7, 3, 9]
    padded = torch.randn(5, 9, 12, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        want = theirs(padded, attention_mask=mask)
        rows = [torch.cat([padded[i, : lengths[i]] for i in row]) for row in ([0, 1, 2], [3, 4])]
        x = torch.stack([torch.cat([row, torch.randn(15 - len(row), 12).double()]) for row in rows])
        segments = torch.tensor([[0] * 5 + [1] + [2] * 7 + [-1] * 2, [3] * 3 + [4] * 9 + [-1] * 3])
        torch.testing.assert_close(ours(x, segments), want, rtol=1e-9, atol=1e-9)


def test_without_segments_a_row_is_one_picture():
    theirs, ours = _of_transformers()
    x = torch.randn(4, 6, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


def test_segments_of_one_number_in_two_rows_are_two_pictures():
    pool = AttentionPool(8, 2, mlp_ratio=0)
    x = torch.randn(2, 6, 8)
    local = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 1, -1]])
    apart = torch.tensor([[0, 0, 1, 1, 1, 2], [3, 3, 3, 3, 4, -1]])
    assert pool(x, local).shape == (5, 8)
    torch.testing.assert_close(pool(x, local), pool(x, apart))


def test_a_row_of_padding_gives_nothing():
    pool = AttentionPool(8, 2)
    x = torch.randn(3, 4, 8)
    segments = torch.tensor([[-1] * 4, [7] * 4, [-1] * 4])
    torch.testing.assert_close(pool(x, segments), pool(x[1:2]))


def test_nothing_but_its_own_tokens_moves_a_picture():
    pool = AttentionPool(8, 2).double()
    x = torch.randn(1, 9, 8, dtype=torch.float64, requires_grad=True)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1, -1, -1]])
    for k, out in enumerate(pool(x, segments)):
        (grad,) = torch.autograd.grad(out.square().sum(), x, retain_graph=True)
        assert (grad[segments != k] == 0).all() and (grad[segments == k] != 0).any(-1).all()


def _pool(segments: Tensor) -> Tensor:
    return AttentionPool(8, 2)(torch.randn(2, 4, 8), segments)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AttentionPool(8, 3), "divide dim=8, got 3"),
        (lambda: AttentionPool(8, 2, mlp_ratio=-1), "not be negative, got -1"),
        (lambda: _pool(torch.zeros(2, 5, dtype=torch.int64)), r"int64 \(2, 4\), got torch.int64 \(2, 5\)"),
        (lambda: _pool(torch.zeros(2, 4)), "got torch.float32"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
