"""Cosine relevance, against torch's own cosine."""

import pytest
import torch

from seefar.compress import Cosine
from seefar.sequence import VisualSequence

R = torch.Generator().manual_seed(0)
SEQ = VisualSequence.of_grid(torch.randn(2, 3, 2, 2, 6, generator=R), torch.arange(3))
QUERY = torch.randn(2, 4, 6, generator=R)


def test_a_token_scores_its_best_cosine_over_the_query_vectors():
    for b in range(2):
        for n in range(12):
            want = max(torch.cosine_similarity(SEQ.tokens[b, n], q, dim=0).item() for q in QUERY[b])
            assert Cosine()(SEQ, QUERY)[b, n].item() == pytest.approx(want, abs=1e-6)


def test_one_query_vector_may_come_without_its_axis():
    assert torch.equal(Cosine()(SEQ, QUERY[:, 0]), Cosine()(SEQ, QUERY[:, :1]))


def test_zero_query_vectors_are_padding():
    away = -SEQ.tokens[:, :1]  # all but surely below zero somewhere, where a padding vector would score 0
    padded = torch.cat([away, torch.zeros(2, 3, 6)], 1)
    assert torch.equal(Cosine()(SEQ, padded), Cosine()(SEQ, away)) and (Cosine()(SEQ, padded) < 0).any()
    assert torch.equal(Cosine()(SEQ, torch.zeros(2, 2, 6)), torch.zeros(2, 12))


def test_half_precision_is_scored_in_single():
    scores = Cosine()(SEQ.map(torch.Tensor.bfloat16), QUERY.bfloat16())
    assert scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (None, "needs a query"),
        (QUERY[:1], r"query must be \(2, Q, 6\) or \(2, 6\), got \(1, 4, 6\)"),
        (QUERY[..., :5], r"got \(2, 4, 5\)"),
        (QUERY[:, :0], r"got \(2, 0, 6\)"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(query, words):
    with pytest.raises(ValueError, match=words):
        Cosine()(SEQ, query)
