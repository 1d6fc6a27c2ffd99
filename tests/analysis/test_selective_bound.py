"""The attention form of a selective state space, sums of its weights, and the bound built on them."""

import math

import pytest
import torch
from torch import nn

from seefar.analysis.selective_bound import generalization_bound, scan_weights, step_range, weight_sum
from seefar.mixers.plain_selective import PlainSelective


def drawn(abscissa=-0.5, *, dim=3, turn=0.4, seed=0):
    torch.manual_seed(seed)
    mixer = PlainSelective(dim, abscissa=abscissa, step=0.7).double()
    nn.init.normal_(mixer.q, std=turn)
    return mixer


def inputs(count, length, dim=3):
    return torch.nn.functional.normalize(torch.randn(count, length, dim).double(), dim=-1)


@pytest.mark.parametrize("abscissa", [-0.5, 0.0, 0.2])
def test_the_attention_form_is_the_scan(abscissa):
    mixer = drawn(abscissa)
    x = inputs(4, 30)
    weights = scan_weights(mixer, x)
    read, write = x[:, -1] @ mixer.C.mT, x @ mixer.B.mT
    y = torch.einsum("bs,bsn,bns,bnd->bd", read, weights, write, x)
    torch.testing.assert_close(y, mixer(x)[0][:, -1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("abscissa", [-0.5, -0.05, 0.0, 0.1])
def test_weights_never_add_up_to_more_than_the_geometric_sum(abscissa):
    for seed in range(20):
        mixer = drawn(abscissa, seed=seed, turn=1.0)
        x = inputs(8, 40)
        for length in (40, math.inf) if abscissa < 0 else (40,):
            most = weight_sum(abscissa, step_range(mixer, 1.0), length)
            assert float(scan_weights(mixer, x).detach().sum(-1).max()) <= most * (1 + 1e-12)


def test_the_sum_is_reached_by_steps_that_are_all_alike():
    mixer = drawn(turn=0.0)
    most = weight_sum(-0.5, step_range(mixer, 1.0), math.inf)
    reached = float(scan_weights(mixer, inputs(1, 200)).detach().sum(-1).max())
    assert reached == pytest.approx(most, rel=1e-9)
    assert most == pytest.approx(0.7 / (1 - math.exp(-0.35)))


def test_no_output_is_larger_than_the_bound_says():
    for seed in range(10):
        mixer, head = drawn(seed=seed, turn=1.0), nn.Linear(3, 1).double()
        bound = generalization_bound(mixer, head, examples=100, length=40)
        outputs = head(mixer(inputs(50, 40))[0][:, -1])
        assert float(outputs.detach().abs().max()) <= bound.output


def test_length_enters_the_bound_by_the_side_of_zero():
    head = nn.Linear(3, 1).double()
    gaps = {
        a: [generalization_bound(drawn(a, turn=0.0), head, examples=500, length=n).gap for n in (100, 200, 400, 800)]
        for a in (-0.5, 0.0, 0.05)
    }
    forever = generalization_bound(drawn(-0.5, turn=0.0), head, examples=500, length=math.inf).gap
    assert gaps[-0.5][-1] == pytest.approx(gaps[-0.5][0], rel=1e-9) == pytest.approx(forever)
    assert math.log(gaps[0.0][-1] / gaps[0.0][0]) / math.log(8) == pytest.approx(1, abs=0.1)
    steps = [math.log(b / a) for a, b in zip(gaps[0.05], gaps[0.05][1:], strict=False)]
    assert steps[0] > 3 and steps[2] == pytest.approx(2 * steps[1], rel=0.05)  # exponential: twice for twice the tokens
    assert math.isinf(generalization_bound(drawn(0.0), head, examples=500, length=math.inf).gap)


def test_more_examples_tighten_the_bound_by_their_root():
    mixer, head = drawn(), nn.Linear(3, 1).double()
    few, many = (generalization_bound(mixer, head, examples=m, length=50).gap for m in (1000, 100_000))
    assert 7 < few / many <= 10  # the root of a hundred, less a logarithm


def test_what_cannot_be_bounded_is_refused_or_infinite():
    mixer, head = drawn(), nn.Linear(3, 1)
    with pytest.raises(ValueError, match="finite length"):
        step_range(mixer, math.inf)
    with pytest.raises(ValueError, match="one output, got 2"):
        generalization_bound(mixer, nn.Linear(3, 2), examples=5, length=5)
    with pytest.raises(ValueError, match="got 0"):
        generalization_bound(mixer, head, examples=0, length=5)
    with torch.no_grad():
        mixer.p.fill_(-1e9)  # steps of length 0: nothing is ever forgotten
    assert math.isinf(generalization_bound(mixer, head, examples=5, length=math.inf).gap)
