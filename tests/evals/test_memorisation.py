"""Counting what attention learns: the loss, the count, and layers that do not touch each other."""

import math

import pytest
import torch

from seefar.evals.memorisation import (
    QueryLayers,
    crossing,
    error_at_the_line,
    examples,
    learnt_examples,
    left_over,
    rank_of_features,
    straightness,
)
from seefar.papers._card import Scale

SMOKE = Scale("smoke", (0,))


def test_examples_share_a_context_or_have_their_own_and_twins_coincide():
    shared, own = (examples(5, (2, 3, 4), shared=way, twins=not way, seed=0) for way in (True, False))
    assert shared.contexts.shape == (3, 4) and own.contexts.shape == (5, 3, 4)
    assert torch.equal(own.contexts[:, 0], own.contexts[:, 1])
    assert not torch.equal(shared.contexts[0], shared.contexts[1])
    assert rank_of_features(20)(0)((2, 3, 4)) == 5 and rank_of_features(20, size=0.0)(0)((2, 3, 4)) == 1
    assert error_at_the_line(built=True)(0)((2, 3, 4)) < 1e-9
    assert error_at_the_line(built=False, beyond=1)(0)((2, 3, 4)) > 1e-4


def test_layers_are_independent_and_weights_are_those_of_sdpa():
    torch.manual_seed(0)
    layers, (queries, context) = QueryLayers(3, (2, 4, 5)), torch.rand(2, 6, 5).double()
    weights = layers(queries, context[:4])
    assert weights.shape == (3, 6, 8)
    for m in range(3):
        q, k = queries @ layers.q[m], context[:4] @ layers.k[m]
        eye = torch.eye(4).double().expand(2, 4, 4)
        want = torch.nn.functional.scaled_dot_product_attention(q, k, eye)  # divides by sqrt(5), its width, too
        torch.testing.assert_close(weights[m], want.transpose(0, 1).flatten(1))
    weights[1].sum().backward()
    assert not layers.q.grad[0].any() and not layers.k.grad[2].any()


def test_what_is_left_over_is_that_of_least_squares_on_the_examples_seen():
    torch.manual_seed(0)
    weights, labels = torch.rand(2, 9, 3).double().requires_grad_(), torch.rand(9).double()
    seen = (torch.arange(9) < torch.tensor([[9], [6]])).double()
    left = left_over(weights, labels, seen, ridge=0.0)
    for m, count in enumerate((9, 6)):
        part = weights[m, :count].detach()
        best = torch.linalg.lstsq(part, labels[:count, None]).solution
        torch.testing.assert_close(left[m], (part @ best - labels[:count, None]).square().mean())

    def whole(w):  # the gradient holds although values are solved for without one
        free = torch.linalg.pinv(w[0]) @ labels[:, None]
        return (w[0] @ free - labels[:, None]).square().mean()

    (wanted,) = torch.autograd.grad(whole(weights), weights)
    (got,) = torch.autograd.grad(left[0], weights)
    torch.testing.assert_close(got[0], wanted[0])


def test_the_count_lies_between_the_two_where_the_error_crosses():
    assert crossing([8, 16], [1e-4, 1.0], 0.01) == pytest.approx(math.sqrt(8 * 16))
    assert crossing([8, 16, 32], [0.0, 0.02, 0.0], 0.01) < 16
    assert crossing([8, 16], [0.5, 1.0], 0.01) == 8 and crossing([8, 16], [0.0, 0.0], 0.01) == 16
    assert straightness([1, 2, 3], [5, 7, 9]) == pytest.approx(1)
    assert straightness([1, 2, 3], [0, 1, 0]) == pytest.approx(0, abs=1e-12)


def test_training_learns_more_than_the_rank_of_drawn_attention():
    learnt = learnt_examples((2, 4, 8, 16), SMOKE, steps=60)(0)
    assert learnt((1, 3, 6)) > 3  # the line of the theorem, which drawn heads cannot pass
    with pytest.raises(ValueError, match="that rise"):
        learnt_examples((4, 2), SMOKE)
