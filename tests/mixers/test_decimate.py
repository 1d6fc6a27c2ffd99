"""The scores decide, the order stays, the residual stream goes with it, and nothing is dropped twice or late."""

import pytest
import torch
from torch import nn

from seefar.mixers.block import Block, Stack
from seefar.mixers.decimate import Decimated, Keep, evenly, step_norm
from seefar.mixers.selective import Mamba
from seefar.mixers.softmax import Attention
from seefar.sequence import VisualSequence


def _stack(layers=2, **changes):
    torch.manual_seed(0)
    return Stack([Block(4, Mamba(4, **({"d_state": 3} | changes)), mlp_ratio=1) for _ in range(layers)]).double()


def _text(N=30):
    return torch.randn(2, N, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(N))


def test_a_text_as_short_as_the_base_is_read_as_by_the_stack_bit_for_bit():
    stack, x = _stack(), _text()
    y, state = Decimated(stack, [0, 1], keep=Keep(25, 1.0, 5), protect=5)(x)
    want, ends = stack(x)
    assert torch.equal(y, want) and state.kept_BK.tolist() == [list(range(30))] * 2
    for got, end in zip(state.inner, ends, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, end, strict=True))


def test_the_highest_scores_of_each_row_stay_in_their_order_and_so_does_the_response():
    scores = torch.rand(2, 27, generator=torch.Generator().manual_seed(1))
    y, state = Decimated(_stack(), [0], keep=Keep(6, 0.5, 2), protect=3, score=lambda dt: scores)(_text())
    assert y.shape == (2, 9, 4)
    for row, kept in zip(scores, state.kept_BK.tolist(), strict=True):
        assert kept == [*sorted(row.topk(6).indices.tolist()), 27, 28, 29]


def test_a_score_is_the_length_of_a_step():
    dt = torch.tensor([[[3.0, 4.0], [6.0, 0.0], [1.0, 1.0]]])
    torch.testing.assert_close(step_norm(dt), torch.tensor([[5.0, 6.0, 2**0.5]]))


def test_the_control_spreads_what_it_keeps():
    best = evenly(torch.ones(1, 100, 2)).topk(10, 1).indices.sort(1).values[0]
    assert best.diff().max() <= 21 and best.diff().min() >= 5


def test_what_a_layer_does_is_written_out():
    stack, x = _stack(1, d_conv=1), _text()
    y, state = Decimated(stack, [0], keep=Keep(8, 0.5, 2), protect=2)(x)
    # without a convolution a dropped token leaves no trace: the kept ones alone give the same
    alone = torch.stack([row[kept] for row, kept in zip(x, state.kept_BK, strict=True)])
    want, (end,) = stack(alone)
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state.inner[0].h_BES, end.h_BES, rtol=1e-12, atol=1e-12)


def test_the_convolution_still_sees_dropped_neighbours():
    stack, x = _stack(1), _text()
    y, state = Decimated(stack, [0], keep=Keep(8, 0.5, 2), protect=2)(x)
    alone = torch.stack([row[kept] for row, kept in zip(x, state.kept_BK, strict=True)])
    assert (y - stack(alone)[0]).abs().max() > 1e-3


def test_later_layers_run_on_the_shorter_text_and_keep_fewer_by_the_schedule():
    y, state = Decimated(_stack(3), [2, 0], keep=Keep(16, 0.5, 4), protect=2)(_text())
    assert y.shape[1] == 8 + 2 and state.kept_BK.diff(dim=1).min() > 0
    assert [Keep(16, 0.5, 4)(i, n) for i, n in ((0, 100), (1, 100), (3, 100), (0, 9), (5, 3))] == [16, 8, 4, 9, 3]


def test_times_of_what_is_kept_are_those_it_had():
    x = _text()
    time = torch.arange(30.0, dtype=torch.float64).expand(2, -1) / 7
    span, (rows, n) = torch.stack([time, time + 0.1], -1), x.shape[:2]
    whole = torch.ones(rows, n, dtype=torch.bool)
    seq = VisualSequence(x, span, torch.zeros(rows, n, 4), whole.float(), whole.long(), whole)
    y, state = Decimated(_stack(), [0], keep=Keep(8, 0.5, 2))(seq.tokens)
    short = seq.take(state.kept_BK)
    assert short.tokens.shape == y.shape
    torch.testing.assert_close(short.span[..., 0] * 7, state.kept_BK.double())


def test_a_dropped_token_gets_no_gradient_and_a_kept_one_does():
    x = _text().requires_grad_()
    y, state = Decimated(_stack(1, d_conv=1), [0], keep=Keep(8, 0.5, 2), protect=2)(x)
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    felt = grad.abs().sum(2) > 0
    for row, kept in zip(felt, state.kept_BK.tolist(), strict=True):
        assert row.nonzero().flatten().tolist() == kept


def test_with_a_state_nothing_is_dropped_and_it_goes_on_as_the_stack_does():
    stack = _stack()
    decimated, more = Decimated(stack, [0], keep=Keep(8, 0.5, 2)), _text(5)
    _, state = decimated(_text())
    y, after = decimated(more, state)
    want, ends = stack(more, state.inner)
    assert y.shape == more.shape and torch.equal(y, want)
    assert torch.equal(after.kept_BK, state.kept_BK) and torch.equal(after.inner[1].h_BES, ends[1].h_BES)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Decimated(_stack(), []), "got none"),
        (lambda: Decimated(_stack(), [2]), "layer 2 of 2 is no block with a Mamba"),
        (lambda: Decimated(Stack([Block(4, Attention(4, 2))]), [0]), "layer 0 of 1 is no block with a Mamba"),
        (lambda: Decimated(_stack(), [0], keep=Keep(10, 0.5, 20)), "minimum <= base.*minimum=20"),
        (lambda: Decimated(_stack(), [0], protect=30)(_text()), "30 tokens are no longer than the response"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_learns_through_what_it_keeps():
    decimated = Decimated(_stack(), [0], keep=Keep(8, 0.5, 2))
    loss = decimated(_text())[0].square().sum()
    named = dict(decimated.named_parameters())
    grads = torch.autograd.grad(loss, list(named.values()))
    assert all(grad.abs().sum() > 0 for grad in grads) and isinstance(decimated, nn.Module)
