import pytest
import torch
from torch import nn

from seefar.embed import VectorQuantizer
from seefar.mixers import EMA, GatedMixer, Stack
from seefar.mixers.scored import DistanceBias, TurningBias
from seefar.mixers.vq_attention import VQAttention
from seefar.testing import check_streaming


def quantizer(codes=5, width=4):
    torch.manual_seed(0)
    made = VectorQuantizer(codes, width, commitment=0.0).double()
    made(torch.randn(40, width, dtype=torch.float64))
    return made.eval()


def make(codes=5, block=3, causal=True, bias=True):
    made = quantizer(codes)
    return VQAttention(made, block=block, causal=causal, bias=DistanceBias(2 * block) if bias else None).double()


def parts(length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, length, width, generator=generator, dtype=torch.float64) for width in (4, 4, 6)]


def dense(attention, q, k, v, mask=None, keys=None):
    """The N x N matrix over quantised keys; those that are met by code pass no gradient to k."""
    N, T = q.shape[1], attention.block
    coded = attention.quantizer(k)[0] if keys is None else keys
    place = torch.arange(N)
    apart = place // T - place[:, None] // T
    near = apart.abs() <= 1
    scores = torch.where(near, q @ coded.mT, q @ coded.detach().mT) / q.shape[-1] ** 0.5
    if attention.bias is not None:
        reach = attention.bias.reach
        distance = (place - place[:, None]).clamp(1 - reach, reach - 1)
        scores = scores + attention.bias.table[distance + reach - 1] * near
    visible = torch.ones(N, N, dtype=torch.bool) if not attention.causal else place <= place[:, None]
    if mask is not None:
        visible = visible & mask[:, None]
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block", [1, 3, 50])
@pytest.mark.parametrize("length", [1, 4, 26])
def test_it_is_attention_to_every_quantised_key(causal, block, length):
    attention = make(block=block, causal=causal)
    learnt = [part.requires_grad_() for part in parts(length)]
    weights = [*learnt, attention.bias.table]
    got, want = attention(*learnt)[0], dense(attention, *learnt)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(out.square().sum(), weights) for out in (got, want)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_seen_by_none(causal):
    attention, (q, k, v) = make(causal=causal), parts(20)
    mask = torch.arange(20) < torch.tensor([[20], [11]])
    got, state = attention(q, k, v, mask=mask)
    torch.testing.assert_close(got[mask], dense(attention, q, k, v, mask)[mask], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got[1:, :11], attention(q[1:, :11], k[1:, :11], v[1:, :11])[0])
    assert state is None


@pytest.mark.parametrize("causal", [True, False])
def test_with_a_code_for_every_key_nothing_is_lost(causal):
    attention, (q, _, v) = make(bias=False, causal=causal), parts(30)
    k = attention.quantizer.code[torch.randint(5, (2, 30), generator=torch.Generator().manual_seed(2))]
    want = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(attention(q, k, v)[0], want, rtol=1e-10, atol=1e-10)


def gated(block=3, memory=True, training=False):
    torch.manual_seed(3)
    made = VectorQuantizer(5, 4)
    attention = VQAttention(made, block=block, bias=TurningBias(4))
    mixer = GatedMixer(4, memory=EMA(4, states=2) if memory else None, attention=attention, width=4).double()
    nn.init.normal_(mixer.gamma)
    mixer(torch.randn(2, 30, 4, dtype=torch.float64))
    return mixer.train(training)


@pytest.mark.parametrize("block", [1, 4, 40])
def test_a_gated_mixer_with_it_streams_in_a_bounded_state(block):
    mixer = gated(block)
    assert mixer.bounded and mixer.causal
    check_streaming(mixer, torch.randn(2, 23, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(gated()), torch.randn(2, 23, 4))


def test_every_token_is_counted_once():
    attention, (q, k, v) = make(), parts(23)
    state = attention(q, k, v)[1]
    # blocks of 3: of 23 tokens, 6 blocks are two behind or more, 5 tokens are in the slots
    assert state.seen == 23 and state.counts_BS.sum(1).tolist() == [18, 18]
    torch.testing.assert_close(state.sum_BSE.sum(1), v[:, :18].sum(1))
    torch.testing.assert_close(state.v_BME[:, -5:], v[:, 18:])
    index = attention.quantizer(k).which
    for row in range(2):
        assert torch.equal(state.counts_BS[row], torch.bincount(index[row, :18], minlength=5).double())


def test_no_product_is_as_large_as_all_pairs():
    attention, largest = make(block=4), []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest.append(out.numel())
            return out

    sizes = []
    for length in (128, 256):
        largest.clear()
        with Watch(), torch.no_grad():
            attention(*parts(length))
        sizes.append(max(largest))
    assert sizes[1] < 2.1 * sizes[0], sizes


def test_keys_learn_and_codes_are_used_after_training():
    mixer = gated(training=True)
    optimizer = torch.optim.Adam(mixer.parameters(), lr=1e-2)
    x = torch.randn(2, 40, 4, dtype=torch.float64)
    wanted = x.roll(5, 1)
    for _ in range(20):
        optimizer.zero_grad()
        (mixer(x)[0] - wanted).square().mean().backward()
        optimizer.step()
    assert mixer.gamma.grad[1].abs().min() > 0, "nothing reaches the keys"
    seen = []
    made = mixer.attention.quantizer
    made.register_forward_hook(lambda _, __, found: seen.append(found[1]))
    mixer.eval()(x)
    assert made.entropy(seen[0]) > 0.5 and int(made.usage(seen[0]).sum()) == 80


def test_the_state_counts_in_float32_where_values_are_half():
    attention = make(bias=False)
    attention.quantizer.float()
    q, k, v = (part.bfloat16() for part in parts(20))
    o, state = attention(q, k, v)
    assert o.dtype == torch.bfloat16 and state.counts_BS.dtype == torch.float32


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="at least one token, got block=0"):
        VQAttention(quantizer(), block=0)
    attention, (q, k, v) = make(), parts(4)
    state = attention(q, k, v)[1]
    with pytest.raises(ValueError, match="it has a mask"):
        attention(q, k, v, state, mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="it isn't causal"):
        make(causal=False)(q, k, v, state)
    untaught = VQAttention(VectorQuantizer(5, 4)).double().eval()
    with pytest.raises(ValueError, match="no codes yet"):
        untaught(q, k, v)
    with pytest.raises(ValueError, match="causal"):
        GatedMixer(4, memory=EMA(4, bidirectional=True), attention=attention, width=4)
    assert Stack([gated()]).bounded
