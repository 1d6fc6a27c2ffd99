"""Capacity of attention: ranks by the law, weights that reach the line without training, and refusals."""

import pytest
import torch

from seefar.analysis.capacity import (
    attention_features,
    attention_rank,
    greedy_heads,
    memorisation_line,
    memorise,
    random_heads,
)


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_features_are_the_softmax_written_out():
    heads, queries, contexts = random_heads(2, 5, head_dim=3, seed=0), rand(4, 5), rand(4, 3, 5, seed=1)
    for shared in (True, False):
        got = attention_features(heads, queries, contexts[0] if shared else contexts, scale=0.7)
        for t, e in enumerate(queries):
            E = contexts[0 if shared else t]
            want = [E.mT @ torch.softmax(0.7 * E @ k @ q.mT @ e, 0) for q, k in zip(*heads, strict=True)]
            torch.testing.assert_close(got[t], torch.cat(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("H, n, d", [(1, 2, 6), (1, 5, 8), (2, 5, 8), (4, 8, 16), (3, 4, 7), (8, 3, 9)], ids=str)
def test_ranks_follow_the_law_and_end_at_the_examples(H, n, d):
    heads = random_heads(H, d, size=3.0, seed=2)
    queries, context, contexts = rand(150, d), rand(n, d, seed=1), rand(150, n, d, seed=3)
    law = H * (n - 1) + 1
    assert attention_rank(heads, queries, context) == law == memorisation_line(H, n, d)
    assert attention_rank(heads, queries, contexts) == H * d
    few = max(1, law - 1)
    assert attention_rank(heads, queries[:few], context) == few


def test_two_equal_tokens_cost_a_rank_in_every_head():
    heads, queries, context = random_heads(3, 8, size=3.0, seed=0), rand(60, 8), rand(5, 8, seed=1)
    context[3] = context[1]
    assert attention_rank(heads, queries, context) == 3 * (5 - 2) + 1


def test_narrow_heads_lower_the_line_but_not_the_rank_of_random_ones():
    assert memorisation_line(3, 6, 12, head_dim=3) == 3 * 2 + 1
    heads = random_heads(3, 12, head_dim=3, size=3.0, seed=0)
    assert attention_rank(heads, rand(60, 12), rand(6, 12, seed=1)) == 3 * 5 + 1


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("H, n, d, r", [(1, 5, 8, None), (4, 8, 16, None), (8, 4, 9, None), (3, 6, 12, 3)], ids=str)
def test_built_heads_fit_as_many_random_labels_as_the_line_without_training(H, n, d, r, shared):
    line = memorisation_line(H, n, d, head_dim=r)
    queries, contexts, labels = rand(line, d), rand(*(() if shared else (line,)), n, d, seed=1), rand(line, seed=2)
    heads = greedy_heads(queries, contexts, H, head_dim=r)
    assert heads.q.shape == heads.k.shape == (H, d, n if r is None else r)
    readout, error = memorise(heads, queries, contexts, labels)
    assert error < 1e-9
    torch.testing.assert_close(attention_features(heads, queries, contexts) @ readout, labels, rtol=0, atol=1e-9)


def test_each_built_head_has_its_own_examples_and_saturates_on_those_to_come():
    H, n, d = 3, 5, 8
    queries, context = rand(13, d), rand(5, d, seed=1)
    heads = greedy_heads(queries, context, H)
    logits = torch.einsum("nd,hdr,her,te->thn", context, heads.k, heads.q, queries)
    weights, taken = logits.softmax(-1), torch.zeros(13, dtype=torch.bool)
    for h in range(H):
        own = ~taken & (weights[:, h, 0] < 0.5)
        assert int(own.sum()) == n - 1
        assert sorted(weights[own, h].argmax(-1).tolist()) == [1, 2, 3, 4]  # one token each, all different
        taken |= own
        assert (weights[~taken, h, 0] > 1 - 1e-12).all()  # all others to come: the same one
    assert int((~taken).sum()) == 1


def test_one_label_more_than_the_rank_is_not_fitted():
    heads, context = random_heads(2, 8, size=3.0, seed=0), rand(5, 8, seed=1)
    assert memorise(heads, rand(9, 8), context, rand(9, seed=2))[1] < 1e-9
    assert memorise(heads, rand(10, 8), context, rand(10, seed=2))[1] > 1e-3


def test_what_the_theorem_does_not_cover_is_refused():
    with pytest.raises(ValueError, match="fewer tokens than channels"):
        memorisation_line(2, 8, 8)
    with pytest.raises(ValueError, match="queries are torch"):
        attention_rank(random_heads(1, 4, seed=0), torch.rand(3, 4), rand(2, 4))
    queries, context = rand(3, 4), rand(2, 4, seed=1)
    twice = torch.cat([queries, queries[:1]])
    heads = random_heads(2, 4, seed=0)
    memorise(heads, twice, context, torch.tensor([1.0, 2.0, 3.0, 1.0]).double())
    with pytest.raises(ValueError, match="1 examples come twice, with different labels"):
        memorise(heads, twice, context, torch.tensor([1.0, 2.0, 3.0, 4.0]).double())
    with pytest.raises(ValueError, match="take up 3 examples, got 4"):
        greedy_heads(rand(4, 4), context, 2)
    with pytest.raises(ValueError, match="half-space"):
        greedy_heads(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0.1, 0, 0], [1, 0, 1, 0]]).double(), context, 2)
    with pytest.raises(ValueError, match="linearly independent"):
        greedy_heads(queries, context[:1].repeat(2, 1), 2)
