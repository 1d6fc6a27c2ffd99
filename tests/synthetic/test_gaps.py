import pytest
import torch

from seefar.synthetic.gaps import adding, echo, parity


def test_adding_marks_one_number_in_each_half():
    x, total = adding(2000, 9, seed=0)
    assert (x[:, :4, 1].sum(1) == 1).all() and (x[:, 4:, 1].sum(1) == 1).all()
    torch.testing.assert_close((x[..., 0] * x[..., 1]).sum(1, keepdim=True), total)
    assert abs(float((total - 1).square().mean()) - 1 / 6) < 0.02


@pytest.mark.parametrize("lag", [-3, 0, 3])
def test_echo_says_what_stood_there(lag):
    x, label = echo(5, 12, lag, symbols=4, seed=0)
    said = x.argmax(-1)
    for t in range(12):
        there = 0 <= t - lag < 12
        assert torch.equal(label[:, t], said[:, t - lag] if there else torch.full((5,), -100))


def test_parity_counts_every_bit():
    x, odd = parity(50, 20, seed=0)
    assert torch.equal(odd[:, -1], x[..., 0].sum(1).long() % 2) and torch.equal(odd[:, 0], x[:, 0, 0].long())


@pytest.mark.parametrize("make", [adding, parity])
def test_the_seed_decides(make):
    assert torch.equal(make(3, 8, seed=1)[0], make(3, 8, seed=1)[0])
    assert not torch.equal(make(3, 8, seed=1)[0], make(3, 8, seed=2)[0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: adding(1, 1, seed=0), "at least 2 tokens, got count=1 and length=1"),
        (lambda: parity(0, 5, seed=0), "got count=0"),
        (lambda: echo(1, 5, 5, symbols=2, seed=0), "lag=5"),
        (lambda: echo(1, 5, 1, symbols=1, seed=0), "symbols=1"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
