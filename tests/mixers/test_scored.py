"""Oracles: torch's scaled_dot_product_attention, and sums over pairs written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from seefar.mixers.scored import DistanceBias, ScoredAttention, TurningBias, laplace, relu2, softmax
from seefar.testing import check_streaming

torch.manual_seed(0)
Q, K, V = (torch.randn(2, 23, width, dtype=torch.float64) for width in (4, 4, 6))


class Alone(torch.nn.Module):
    """The attention as a mixer, to be streamed: queries, keys and values are parts of x."""

    def __init__(self, attention):
        super().__init__()
        self.attention, self.bounded = attention, attention.bounded

    def forward(self, x, state=None):
        return self.attention(*x.split(4, -1), state)


@pytest.mark.parametrize("score", [softmax, laplace, relu2])
@pytest.mark.parametrize("chunk", [None, 1, 5, 40])
def test_streams(score, chunk):
    attention = ScoredAttention(score=score, chunk=chunk, bias=TurningBias(4))
    check_streaming(Alone(attention), torch.randn(2, 23, 12))


@pytest.mark.parametrize("causal", [True, False])
def test_softmax_is_that_of_torch(causal):
    want = F.scaled_dot_product_attention(Q, K, V, is_causal=causal)
    torch.testing.assert_close(ScoredAttention(causal=causal)(Q, K, V)[0], want)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("score", [laplace, relu2])
def test_scores_of_pairs_divide_by_the_visible_keys_under_masks_too(score, causal):
    mask = torch.arange(23) < torch.tensor([[23], [9]])
    bias = DistanceBias(23).double()
    got = ScoredAttention(score=score, causal=causal, bias=bias)(Q, K, V, mask=mask)[0]
    for b in range(2):
        for n in range(23):
            seen = [m for m in range(23) if mask[b, m] and (m <= n or not causal)]
            want = torch.zeros(6).double()
            for m in seen:
                s = (Q[b, n] @ K[b, m]).item() / len(seen) + bias.table[22 + m - n].item()
                weight = max(s, 0) ** 2
                if score is laplace:
                    weight = 0.5 * (1 + math.erf((s - 0.707107) / (0.282095 * math.sqrt(2))))
                want += weight * V[b, m]
            torch.testing.assert_close(got[b, n], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("score", [softmax, laplace, relu2])
@pytest.mark.parametrize("causal", [True, False])
def test_a_chunk_as_long_as_the_sequence_is_no_chunk(score, causal):
    whole = ScoredAttention(score=score, causal=causal)(Q, K, V)[0]
    torch.testing.assert_close(ScoredAttention(score=score, causal=causal, chunk=23)(Q, K, V)[0], whole)


@pytest.mark.parametrize("score", [softmax, laplace, relu2])
def test_chunks_are_sequences_of_their_own_the_short_last_one_too(score):
    attention = ScoredAttention(score=score, causal=False, chunk=5, bias=TurningBias(4).double())
    alone = [ScoredAttention(score=score, causal=False, bias=attention.bias) for _ in range(5)]
    parts = zip(alone, Q.split(5, 1), K.split(5, 1), V.split(5, 1), strict=True)
    torch.testing.assert_close(attention(Q, K, V)[0], torch.cat([one(q, k, v)[0] for one, q, k, v in parts], 1))


def test_the_bias_of_turned_vectors_depends_on_the_distance_alone():
    bias, places = TurningBias(6), torch.arange(12)
    table = bias(places, places)
    torch.testing.assert_close(table[1:, 1:], table[:-1, :-1])
    torch.testing.assert_close(bias(places + 1000, places + 1000), table)
    assert (table[0] - table[0, 0]).abs().max() > 0 and not torch.allclose(table, table.mT)


def test_padding_changes_nothing_before_it_and_a_row_without_keys_is_zero():
    for score in (softmax, laplace, relu2):
        attention = ScoredAttention(score=score, causal=False)
        mask = torch.arange(23).expand(2, 23) < 9
        want = attention(Q[:, :9], K[:, :9], V[:, :9])[0]
        torch.testing.assert_close(attention(Q, K, V, mask=mask)[0][:, :9], want)
        assert (attention(Q, K, V, mask=torch.zeros_like(mask))[0] == 0).all()


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="chunk=0"):
        ScoredAttention(chunk=0)
    with pytest.raises(ValueError, match="22 tokens away, the table ends at 7"):
        ScoredAttention(bias=DistanceBias(8).double())(Q, K, V)
    with pytest.raises(ValueError, match="reach must be at least 1"):
        DistanceBias(0)
    state = ScoredAttention()(Q, K, V)[1]
    with pytest.raises(ValueError, match="it isn't causal"):
        ScoredAttention(causal=False)(Q, K, V, state)
    with pytest.raises(ValueError, match="it has a mask"):
        ScoredAttention()(Q, K, V, state, mask=torch.ones(2, 23, dtype=torch.bool))
