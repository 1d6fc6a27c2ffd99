"""A packed loss and its gradients are those of examples in rows of their own; none of them feels another."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import Attention
from seefar.mixers.block import Block, Stack
from seefar.ops.attention import attention
from seefar.positions.rope import Rope
from seefar.training.packing import PADDING, Example, pack


class Reads(torch.nn.Module):
    """A small causal reader that knows segments."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11)
        self.stack = Stack([Block(8, Attention(8, 2, rope=Rope(4)), mlp_ratio=2) for _ in range(2)])
        self.double()

    def forward(self, ids, segments=None):
        return self.head(self.stack(self.embed(ids), segments=segments)[0])


def examples(sizes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        answer = torch.rand(size, generator=draw) < 0.5
        answer[0], answer[-1] = False, True
        made.append(Example(torch.randint(11, (size,), generator=draw), answer))
    return made


def gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()))


def test_loss_and_gradients_are_the_mean_of_examples_in_rows_of_their_own():
    net, some = Reads(), examples([5, 9, 2, 7, 4, 3])
    packed = pack(some, 13)
    got = packed.loss(net(packed.ids, packed.segments))
    alone = []
    for ids, answer in some:
        row = F.pad(ids, (0, 13 - len(ids)))[None]  # padded behind, where causality hides it
        nats = F.cross_entropy(net(row)[0, : len(ids) - 1], ids[1:], reduction="none")
        alone.append(nats[answer[1:]].mean())
    want = torch.stack(alone).mean()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)  # weights are float32
    double = packed._replace(weights=packed.weights.double())
    exact = torch.zeros_like(double.weights)
    for row, number in torch.cartesian_prod(torch.arange(len(packed.ids)), torch.arange(6)).tolist():
        where = (packed.segments[row] == number) & (packed.weights[row] > 0)
        exact[row][where] = 1 / (6 * int(some[number].answer.sum()))
    got = double._replace(weights=exact).loss(net(packed.ids, packed.segments))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(got, net), gradients(want, net), rtol=1e-10, atol=1e-10)


def test_by_tokens_every_answer_weighs_the_same_and_long_ones_drown_the_short():
    long, short = Example(torch.arange(10), torch.arange(10) > 0), Example(torch.arange(3), torch.arange(3) > 1)
    by = {how: pack([long, short], 13, weights=how) for how in ("example", "token")}
    shares = {how: packed.weights[packed.segments == 1].sum().item() for how, packed in by.items()}
    assert shares == pytest.approx({"example": 0.5, "token": 0.1})
    assert all(packed.weights.sum() == pytest.approx(1) for packed in by.values())


def test_no_token_of_an_example_feels_another_one_unless_they_are_not_kept_apart():
    some = examples([5, 6, 4])
    for isolate in (True, False):
        packed = pack(some, 15, isolate=isolate)
        x = torch.randn(1, 15, 8, dtype=torch.float64, requires_grad=True)
        stack = Reads().stack
        y = stack(x, segments=packed.segments)[0]
        (grad,) = torch.autograd.grad(y[:, 5:11].square().sum(), x)
        felt = grad.abs().sum((0, 2)) > 0
        assert felt.tolist() == [not isolate] * 5 + [True] * 6 + [False] * 4


def test_attention_by_segments_is_attention_under_a_block_diagonal_mask():
    packed = pack(examples([5, 9, 2, 7, 4, 3]), 13)
    q, k, v = torch.randn(3, len(packed.ids), 2, 13, 4, dtype=torch.float64)
    same = (packed.segments[:, :, None] == packed.segments[:, None])[:, None]
    mask = same & torch.ones(13, 13, dtype=torch.bool).tril()
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attention(q, k, v, causal=True, segments=packed.segments), want)


def test_every_example_is_whole_in_one_row_and_rows_may_be_few():
    some = examples([5, 9, 2, 7, 4, 3])
    packed = pack(some, 13)
    for number, (ids, answer) in enumerate(some):
        row, at = (packed.segments == number).nonzero().T
        assert len(row.unique()) == 1 and at.tolist() == list(range(at[0], at[0] + len(ids)))
        assert torch.equal(packed.ids[row, at], ids) and torch.equal(packed.weights[row, at] > 0, answer)
        assert torch.equal(packed.places[row, at], torch.arange(len(ids)))
    assert (packed.weights[packed.segments == PADDING] == 0).all()
    one = pack(some, 13, rows=1)
    assert one.segments.unique().tolist() == [-1, 0, 2, 4] and one.weights.sum() == pytest.approx(1)


def test_what_cannot_be_is_refused():
    good, some = examples([4])[0], partial(Example, torch.arange(3))
    cases = [
        ([], "at least one example"),
        (examples([20]), "example 0 has 20 tokens, a row 13"),
        ([good, some(torch.zeros(3, dtype=torch.bool))], "example 1 needs an answer"),
        ([some(torch.ones(3, dtype=torch.bool))], "not as its first token"),
        ([some(torch.ones(3))], r"answer \(n,\) bool"),
    ]
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            pack(bad, 13)
    with pytest.raises(ValueError, match="by 'example' or by 'token', got 'row'"):
        pack([good], 13, weights="row")
