import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import Diagonal
from seefar.mixers.ema import EMA
from seefar.mixers.gated import GatedMixer
from seefar.mixers.scored import ScoredAttention, TurningBias, laplace
from seefar.testing import check_streaming


def make(memory=lambda: EMA(4, states=2), width=6, **options):
    torch.manual_seed(0)
    attention = ScoredAttention(bias=TurningBias(width), **options)
    return GatedMixer(4, memory=memory(), attention=attention, width=width)


@pytest.mark.parametrize("memory", [lambda: EMA(4, states=2), lambda: Diagonal(4, states=2), lambda: None])
@pytest.mark.parametrize("chunk", [None, 5])
def test_streams_with_any_memory(memory, chunk):
    check_streaming(make(memory, score=laplace, chunk=chunk), torch.randn(2, 33, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make()), torch.randn(2, 33, 4))


def test_values_come_from_the_tokens_and_queries_from_the_memory():
    mixer, x = make(causal=False, memory=lambda: None), torch.randn(2, 9, 4)
    n = mixer.norm(x)
    u, z, r, g = mixer.m_proj(F.silu(n)).split([4, 6, 8, 4], -1)
    q, k = (F.silu(z) * mixer.gamma[i] + mixer.beta[i] for i in range(2))
    bias = mixer.attention.bias(torch.arange(9), torch.arange(9))
    found = F.scaled_dot_product_attention(q, k, F.silu(mixer.v_proj(n)), attn_mask=bias)
    h = F.silu(g + mixer.h_proj(F.silu(r) * found))
    torch.testing.assert_close(mixer(x)[0], x + u.sigmoid() * (h - x))


def test_values_do_not_pass_the_memory():
    mixer, x = make(), torch.randn(2, 9, 4)
    seen = {}
    mixer.v_proj.register_forward_hook(lambda _, inputs, __: seen.update(values=inputs[0]))
    mixer.m_proj.register_forward_hook(lambda _, inputs, __: seen.update(rest=inputs[0]))
    mixer(x)
    torch.testing.assert_close(seen["values"], mixer.norm(x))
    torch.testing.assert_close(seen["rest"], F.silu(mixer.memory(mixer.norm(x))[0]))


def test_with_its_averages_off_it_is_gated_attention_of_scaled_tokens():
    mixer, x = make(), torch.randn(2, 9, 4)
    with torch.no_grad():
        mixer.memory.alpha.fill_(-torch.inf)
        mixer.memory.delta.fill_(-torch.inf)
    plain = make(lambda: None)
    plain.load_state_dict({name: w for name, w in mixer.state_dict().items() if not name.startswith("memory")})
    scaled = plain.m_proj.register_forward_pre_hook(lambda _, __: (F.silu(mixer.memory.omega * mixer.norm(x)),))
    torch.testing.assert_close(mixer(x)[0], plain(x)[0])
    scaled.remove()
    assert not torch.allclose(mixer(x)[0], plain(x)[0])


def test_a_closed_gate_lets_the_token_pass_unchanged():
    mixer, x = make(), torch.randn(2, 9, 4)
    with torch.no_grad():
        mixer.m_proj.bias[:4] = -1000
    torch.testing.assert_close(mixer(x)[0], x)


@pytest.mark.parametrize("chunk", [None, 4])
def test_padding_changes_no_token(chunk):
    both = make(lambda: EMA(4, states=2, bidirectional=True), causal=False, score=laplace, chunk=chunk)
    x, mask = torch.randn(2, 11, 4), torch.arange(11) < torch.tensor([[11], [6]])
    y, state = both(x, mask=mask)
    torch.testing.assert_close(y[1:, :6], both(x[1:, :6])[0])
    assert state is None


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="memory reads both directions but the attention is causal"):
        make(lambda: EMA(4, bidirectional=True))
    with pytest.raises(ValueError, match="width=0"):
        GatedMixer(4, memory=None, attention=ScoredAttention(), width=0)
    mixer, x = make(), torch.randn(1, 3, 4)
    with pytest.raises(ValueError, match="it has a mask"):
        mixer(x, mixer(x)[1], mask=torch.ones(1, 3, dtype=torch.bool))
