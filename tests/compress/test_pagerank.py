"""PageRank over attention, against matrix powers, the stationary vector and logits kept aside."""

import pytest
import torch

from seefar.compress import attention_pagerank, pagerank


def logits(*shape, seed=0):
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_pagerank_equals_the_power_of_the_matrix_and_sums_to_one(steps):
    links = logits(2, 3, 17, 17).softmax(-1)
    got = pagerank(links, steps)
    torch.testing.assert_close(got, torch.linalg.matrix_power(links, steps).mean(-2), rtol=0, atol=1e-14)
    torch.testing.assert_close(got.sum(-1), torch.ones(2, 3, dtype=torch.float64))


def test_many_steps_end_at_the_stationary_vector():
    links = logits(9, 9).softmax(-1)
    values, vectors = torch.linalg.eig(links.mT)
    fixed = vectors[:, (values.real - 1).abs().argmin()].real
    torch.testing.assert_close(pagerank(links, 500), fixed / fixed.sum(), rtol=0, atol=1e-12)


def test_two_tokens_worked_by_hand():
    # From (1/2, 1/2): token 0 keeps its walker, token 1 sends 3 of 4 to it. (7/8, 1/8), then (31/32, 1/32).
    links = torch.tensor([[1.0, 0.0], [0.75, 0.25]], dtype=torch.float64)
    assert pagerank(links, 1).tolist() == [7 / 8, 1 / 8] and pagerank(links, 2).tolist() == [31 / 32, 1 / 32]


def test_the_weights_alone_give_what_the_logits_over_tau_give():
    A = logits(2, 4, 23, 23).masked_fill(torch.ones(23, 23).triu(1).bool(), -torch.inf)
    each = torch.linalg.matrix_power((A / 0.1).softmax(-1), 5).mean(-2)
    want = each.square().mean(1).sqrt()
    torch.testing.assert_close(attention_pagerank(A.softmax(-1)), want, rtol=1e-9, atol=1e-12)
    low = attention_pagerank(A.softmax(-1).float())
    torch.testing.assert_close(low.double(), want, rtol=1e-3, atol=1e-5)
    assert attention_pagerank(A.softmax(-1).bfloat16()).dtype == torch.float32


def test_the_token_that_all_others_attend_to_is_first():
    A = torch.zeros(1, 2, 8, 8)
    A[..., 5] = 4.0
    assert attention_pagerank(A.softmax(-1)).argmax().item() == 5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pagerank(torch.rand(3, 4)), r"\(\.\.\., N, N\), got \(3, 4\)"),
        (lambda: pagerank(torch.eye(3), -1), "at least 0, got -1"),
        (lambda: attention_pagerank(torch.rand(4, 4)), r"\(B, H, N, N\), got \(4, 4\)"),
        (lambda: attention_pagerank(torch.rand(1, 1, 4, 4), tau=0), "tau must be positive, got 0"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
