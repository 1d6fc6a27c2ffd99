"""Memory slots: read by attention, rewritten slot by slot, beside independent attention and the equations as loops."""

import numpy as np
import pytest
import torch
from torch import nn

from seefar.mixers import SlotBank, SlotReader, SlotWriter
from seefar.testing import check_streaming

B, S, K, D = 2, 5, 3, 8


def reader(heads=2):
    torch.manual_seed(0)
    read = SlotReader(D, heads)
    nn.init.normal_(read.o_proj.weight, std=0.3)
    return read.double()


def writer(heads=2, temperature=0.25, scale=1.0):
    torch.manual_seed(1)
    write = SlotWriter(D, K, heads=heads, temperature=temperature).double()
    for proj in (write.q_proj, write.k_proj):
        proj.weight.data *= scale
    return write


def tokens(n=S, rows=B, seed=2):
    return torch.randn(rows, n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slots(seed=3):
    return nn.functional.normalize(tokens(K, seed=seed), dim=-1)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_reading_is_multi_head_attention_to_the_slots(heads):
    read, x, m = reader(heads), tokens(), slots()
    oracle = nn.MultiheadAttention(D, heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([read.q_proj.weight, read.k_proj.weight, read.v_proj.weight]))
        oracle.out_proj.weight.copy_(read.o_proj.weight)
    torch.testing.assert_close(read(x, m), oracle(x, m, m)[0], rtol=1e-10, atol=1e-10)
    assert not SlotReader(D, heads)(x.float(), m.float()).any()


@pytest.mark.parametrize("heads", [1, 2])
def test_writing_is_what_the_equations_say(heads):
    write, x, m = writer(heads), tokens(), slots()
    weight = {name: getattr(write, f"{name}_proj").weight.detach().numpy() for name in "qkv"}
    bias, d = write.bias.detach().numpy(), D // heads
    want = np.empty((B, K, D))
    for b in range(B):
        for i in range(K):
            own = m[b, i].numpy()
            new = []
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                query = (weight["q"] @ own)[part]
                keys = [(weight["k"] @ other)[part] for other in (own, *x[b].numpy())]
                values = [own[part], *((weight["v"] @ token)[part] for token in x[b].numpy())]
                e = np.exp([query @ key / (d**0.5 * 0.25) for key in keys])
                new.append(sum(a * v for a, v in zip(e / e.sum(), values, strict=True)))
            moved = np.concatenate(new) + bias[i]
            want[b, i] = moved / np.sqrt((moved**2).sum())
    np.testing.assert_allclose(write(x, m).detach().numpy(), want, rtol=1e-10, atol=1e-12)


def test_slots_never_see_each_other_and_keep_length_one():
    write, x = writer(), tokens()
    m = slots().requires_grad_()
    new = write(x, m)
    for i in range(K):
        (grad,) = torch.autograd.grad(new[:, i].square().cumsum(-1).sum(), m, retain_graph=True)
        assert grad[:, i].abs().sum() > 0 and not grad[:, [j for j in range(K) if j != i]].any()
    for length in (new.norm(dim=-1), write.begin(B).norm(dim=-1), write(100 * x, new).norm(dim=-1)):
        torch.testing.assert_close(length, torch.ones(B, K).double())
    held, offered = write.weights(x, m)
    assert held.shape == (B, 2, K) and offered.shape == (B, 2, K, S)
    torch.testing.assert_close(held + offered.sum(-1), torch.ones(B, 2, K).double())


def test_a_slot_that_attends_to_itself_alone_moves_by_its_bias_only():
    write, m = writer(heads=1), slots()
    with torch.no_grad():
        write.q_proj.weight.copy_(100 * torch.eye(D))
        write.k_proj.weight.copy_(torch.eye(D))
    x = 0.01 * tokens()
    torch.testing.assert_close(write(x, m), nn.functional.normalize(m + write.bias, dim=-1), rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        write.bias.zero_()
    torch.testing.assert_close(write(x, m), m, rtol=1e-6, atol=1e-6)


def test_a_low_temperature_chooses():
    soft, sharp = (writer(1, temperature, scale=5).weights(tokens(), slots()) for temperature in (1.0, 0.05))
    most = [torch.cat([held[..., None], offered], -1).amax(-1).mean() for held, offered in (soft, sharp)]
    assert most[0] < 0.85 < most[1]


def test_as_a_mixer_it_streams():
    check_streaming(SlotBank(reader(), writer(), segment=5), tokens(17))
    check_streaming(SlotBank(reader(), writer(), segment=1), tokens(9))


def test_the_law_of_streaming_notices_a_broken_one(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(SlotBank(reader(), writer(), segment=5)), tokens(17))


def test_tokens_read_what_was_written_before_their_segment_and_nothing_else():
    bank, x = SlotBank(reader(), writer(), segment=S), tokens(17)
    x.requires_grad_()
    y, state = bank(x)
    (reach,) = torch.autograd.grad(y[:, 11].square().sum(), x)
    assert torch.nonzero(reach.abs().sum((0, 2))).flatten().tolist() == [*range(10), 11]
    m = bank.write.begin(B)
    for piece in x.split(S, 1)[:3]:
        m = bank.write(piece, m)
    torch.testing.assert_close(state.m_BKD, m)
    torch.testing.assert_close(y[:, 15:], bank.read(x[:, 15:], m))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SlotReader(8, 3), "divide dim=8, got 3"),
        (lambda: SlotWriter(8, 2, heads=0), "divide dim=8, got 0"),
        (lambda: SlotWriter(8, 0), "at least one slot, got 0"),
        (lambda: SlotWriter(8, 2, temperature=0), "positive, got 0"),
        (lambda: SlotBank(reader(), writer(), segment=0), "segment=0"),
        (lambda: writer()(tokens(rows=3), slots()), "of 2 streams, got 3"),
        (lambda: reader()(tokens(rows=3), slots()), "of 2 streams, got 3"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
