import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers import Attention, AttentionState
from seefar.positions import Rope
from seefar.testing import check_streaming


def _llama(heads: int, kv_heads: int, bias: bool) -> tuple[nn.Module, nn.Module]:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        attention_bias=bias,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
    config._attn_implementation = "eager"
    return LlamaAttention(config, 0).eval(), LlamaRotaryEmbedding(config)


def _dense(mixer: Attention, x: Tensor, seen: Tensor) -> Tensor:
    """Softmax over all keys under the (N, N) mask ``seen``, from the weights of a mixer without rope."""
    q, k, v = (
        (x @ proj.weight.T).reshape(*x.shape[:2], -1, 4).transpose(1, 2)
        for proj in (mixer.q_proj, mixer.k_proj, mixer.v_proj)
    )
    k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], 1) for part in (k, v))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(4)).masked_fill(~seen, -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ mixer.o_proj.weight.T


@pytest.mark.parametrize("window", [None, 1, 2, 5, 100])
@pytest.mark.parametrize("rope", [None, Rope(4, base=50.0)])
def test_streams(window, rope):
    check_streaming(Attention(8, 2, kv_heads=1, window=window, rope=rope, bias=True), torch.randn(2, 23, 8))


@pytest.mark.parametrize("window", [None, 5])
def test_a_broken_one_is_caught(broken, window):
    with pytest.raises(AssertionError):
        check_streaming(broken(Attention(8, 2, window=window)), torch.randn(2, 23, 8))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state._replace(seen=0),
        lambda state: state._replace(k_BKMd=state.k_BKMd[:, :, 1:], v_BKMd=state.v_BKMd[:, :, 1:]),
    ],
    ids=["positions begin anew", "one key too few"],
)
def test_a_slip_in_the_state_is_caught(change):
    class Slips(Attention):
        def forward(self, x, state=None):
            return super().forward(x, None if state is None else change(state))

    with pytest.raises(AssertionError, match="chunks of 1: outputs"):
        check_streaming(Slips(8, 2, window=5, rope=Rope(4)), torch.randn(2, 23, 8))


@pytest.mark.parametrize("heads, kv_heads, bias", [(4, 4, False), (4, 2, True), (8, 1, False)])
def test_weights_of_llama_give_its_outputs(heads, kv_heads, bias):
    theirs, rotary = _llama(heads, kv_heads, bias)
    ours = Attention(32, heads, kv_heads=kv_heads, rope=Rope(32 // heads, base=500.0), bias=bias)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 40, 32)
    mask = torch.full((40, 40), -math.inf).triu(1)
    with torch.no_grad():
        want, _ = theirs(x, rotary(x, torch.arange(40)[None]), mask)
        torch.testing.assert_close(ours(x)[0], want, rtol=1e-5, atol=1e-5)
        head, state = ours(x[:, :25])
        tail, _ = ours(x[:, 25:], state)
    torch.testing.assert_close(torch.cat([head, tail], 1), want, rtol=1e-5, atol=1e-5)


def test_weights_of_qwen3_give_its_outputs_norms_of_queries_and_keys_included():
    from transformers import Qwen3Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RotaryEmbedding

    config = Qwen3Config(
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
    config._attn_implementation = "eager"
    theirs, rotary = Qwen3Attention(config, 0).eval(), Qwen3RotaryEmbedding(config)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    norm = partial(nn.RMSNorm, eps=1e-3)
    ours = Attention(32, 4, kv_heads=2, rope=Rope(8, base=500.0), qk_norm=norm)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 40, 32)
    with torch.no_grad():
        want, _ = theirs(x, rotary(x, torch.arange(40)[None]), torch.full((40, 40), -math.inf).triu(1))
        torch.testing.assert_close(ours(x)[0], want, rtol=1e-5, atol=1e-5)


def test_norms_of_queries_and_keys_stream_and_take_the_length_of_a_query_away():
    mixer = Attention(8, 2, rope=Rope(4), qk_norm=nn.RMSNorm)
    check_streaming(mixer, torch.randn(2, 23, 8))
    x, twin = torch.randn(2, 9, 8, dtype=torch.float64), Attention(8, 2, rope=Rope(4), qk_norm=nn.RMSNorm).double()
    twin.load_state_dict(mixer.state_dict())
    with torch.no_grad():
        twin.q_proj.weight.mul_(1e3)
    torch.testing.assert_close(twin(x)[0], mixer(x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("backend", ["sdpa", "tiled", "reference"])
def test_what_is_packed_into_one_row_is_mixed_as_if_alone(causal, backend):
    mixer = Attention(8, 2, causal=causal, rope=Rope(4), qk_norm=nn.RMSNorm, backend=backend).double()
    x = torch.randn(1, 20, 8, dtype=torch.float64, requires_grad=True)
    segments = torch.tensor([[4] * 7 + [6] + [9] * 9 + [-1] * 3])
    y, state = mixer(x, segments=segments)
    assert state is None
    for segment in (4, 6, 9):
        mine = segments[0] == segment
        torch.testing.assert_close(y[:, mine], mixer(x[:, mine])[0], rtol=1e-10, atol=1e-10)
        (grad,) = torch.autograd.grad(y[:, mine].square().sum(), x, retain_graph=True)
        assert (grad[:, ~mine] == 0).all() and (grad[:, mine] != 0).any()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 2, 7, 30, 31])
def test_window_is_dense_attention_under_a_band(window, causal):
    mixer = Attention(16, 4, kv_heads=2, window=window, causal=causal).double()
    x = torch.randn(2, 30, 16, dtype=torch.float64)
    ago = torch.arange(30)[:, None] - torch.arange(30)
    seen = (ago if causal else ago.abs()) < (window or 30)
    if causal:
        seen &= ago >= 0
    torch.testing.assert_close(mixer(x)[0], _dense(mixer, x, seen), rtol=1e-12, atol=1e-12)


def test_without_causality_every_token_sees_all():
    mixer = Attention(16, 4, causal=False).double()
    x = torch.randn(2, 11, 16, dtype=torch.float64)
    y, state = mixer(x)
    assert state is None
    torch.testing.assert_close(y, _dense(mixer, x, torch.ones(11, 11, dtype=torch.bool)), rtol=1e-12, atol=1e-12)
    order = torch.randperm(11)
    torch.testing.assert_close(mixer(x[:, order])[0], y[:, order], rtol=1e-12, atol=1e-12)


def test_the_state_of_a_window_has_one_size_and_keeps_no_chunk_alive():
    mixer = Attention(8, 2, kv_heads=1, window=5)
    with torch.no_grad():
        _, state = mixer(torch.randn(3, 1, 8))
        for length in (1, 1, 1, 1, 2, 400, 7):
            assert state.k_BKMd.shape == state.v_BKMd.shape == (3, 1, 4, 4)
            assert state.k_BKMd.untyped_storage().nbytes() == 3 * 4 * 4 * 4
            _, state = mixer(torch.randn(3, length, 8), state)
    assert state.seen == 1 + 4 + 2 + 400 + 7


def test_the_state_without_a_window_holds_every_key():
    _, state = Attention(8, 2)(torch.randn(3, 40, 8))
    assert state.k_BKMd.shape == (3, 2, 40, 4)
    assert Attention(8, 2, window=9).bounded and not Attention(8, 2).bounded
    assert Attention(8, 2).causal and not Attention(8, 2, causal=False).causal


def test_positions_go_on_from_the_count_not_from_the_keys_at_hand():
    mixer = Attention(4, 1, window=2, rope=Rope(4, base=10.0)).double()
    _, state = mixer(torch.randn(1, 1000, 4, dtype=torch.float64))
    x = torch.randn(1, 1, 4, dtype=torch.float64)
    _, end = mixer(x, state)
    key = mixer.k_proj(x)[:, None]
    torch.testing.assert_close(end.k_BKMd, Rope(4, base=10.0)(key, torch.tensor([1000])))


def test_a_named_backend_runs_and_an_unknown_one_is_refused():
    mixers = [Attention(8, 2, backend=name).double() for name in (None, "reference")]
    mixers[1].load_state_dict(mixers[0].state_dict())
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(mixers[1](x)[0], mixers[0](x)[0])
    with pytest.raises(ValueError, match="unknown backend 'flash'"):
        Attention(8, 2, backend="flash")(x.float())


def test_equals_pytorchs_attention_in_bfloat16():
    mixer = Attention(16, 2).bfloat16()
    x = torch.randn(1, 20, 16, dtype=torch.bfloat16)
    q, k, v = (proj(x).unflatten(-1, (2, 8)).transpose(1, 2) for proj in (mixer.q_proj, mixer.k_proj, mixer.v_proj))
    want = mixer.o_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(x)[0], want)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Attention(10, 3), "divide dim=10, got 3"),
        (lambda: Attention(12, 4, kv_heads=3), "divide heads=4, got 3"),
        (lambda: Attention(8, 2, window=0), "window=0"),
        (lambda: Attention(8, 2, rope=Rope(8)), r"use Rope\(4\)"),
        (
            lambda: Attention(8, 2, causal=False)(
                torch.randn(1, 2, 8), AttentionState(torch.randn(1, 2, 1, 4), torch.randn(1, 2, 1, 4), 1)
            ),
            "no state to go on from",
        ),
        (
            lambda: Attention(8, 2)(
                torch.randn(1, 2, 8),
                AttentionState(torch.randn(1, 2, 1, 4), torch.randn(1, 2, 1, 4), 1),
                segments=torch.zeros(1, 2, dtype=torch.int64),
            ),
            "a packed row is mixed whole",
        ),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
