"""Measures with known answers: filters that are unchanged, products that can be counted by hand."""

import pytest
import torch

from seefar.backbones import SequenceModel
from seefar.evals.counted import multiply_adds
from seefar.evals.language import loss_of
from seefar.evals.partial_filters import convolving, measured_with, reaches_ahead, with_filters, worst_error
from seefar.evals.protocols import sweep
from seefar.mixers import MLP, Hyena, Modal, column
from seefar.ops.fft_conv.plan import planned
from seefar.papers._card import Scale


def model(seed=0, **how):
    torch.manual_seed(seed)
    return SequenceModel(column("Y", 4, Y=lambda: Hyena(4, length=16, **how)), 4, 9, words=9).eval()


IDS = torch.randint(9, (3, 16), generator=torch.Generator().manual_seed(0))


def test_other_filters_leave_the_model_as_it_was_and_count_once():
    net = model()
    whole, cut = with_filters(net), with_filters(net, keep_time=2)
    torch.testing.assert_close(whole(IDS)[0], net(IDS)[0])
    assert isinstance(net, SequenceModel) and (cut(IDS)[0] - net(IDS)[0]).abs().max() > 1e-4
    torch.testing.assert_close(with_filters(cut)(IDS)[0], net(IDS)[0])  # the options are the new ones alone
    with pytest.raises(ValueError, match="needs implicit filters, got Modal"):
        with_filters(model(conv=Modal(torch.full((4, 1), 0.5 + 0j), torch.ones(4, 1) + 0j, torch.ones(4))))


def test_only_what_is_cut_in_frequency_reads_ahead():
    net = model()
    assert reaches_ahead(net, IDS) < 1e-6 and reaches_ahead(with_filters(net, keep_time=3), IDS) < 1e-6
    assert reaches_ahead(with_filters(net, keep_freq=(4, 1), factors=(4, 8)), IDS) > 1e-4


def test_points_name_what_is_measured_and_with_which_filters():
    net = model()
    measure = measured_with({"as it is": None, "cut": {"keep_time": 2}}, lambda seed: IDS + 0 * seed)
    assert measure(net, 0, ("nats", "as it is")) == loss_of(net, IDS)
    assert measure(net, 0, ("nats", "cut")) == loss_of(with_filters(net, keep_time=2), IDS)
    assert measure(net, 0, ("ahead", "cut")) < 1e-6
    found = sweep("x", {"a": lambda seed: lambda at: measure(net, seed, at)}, [("nats", "cut")], Scale("smoke", (0,)))
    assert found["a"]["nats", "cut"].mean == loss_of(with_filters(net, keep_time=2), IDS)


def test_both_ways_to_convolve_are_the_same_and_products_are_those_of_the_plan():
    call = convolving("monarch", rows=2, channels=3, factors=(8, 8))(32)
    assert multiply_adds(call) == planned(32, 32, (8, 8)).multiply_adds(2, 3)
    torch.testing.assert_close(call(), convolving("fft", rows=2, channels=3)(32)(), rtol=1e-4, atol=1e-4)


def test_errors_are_those_of_rounding():
    assert worst_error([(4, 4), (2, 3, 5)], dtype=torch.float64) < 1e-13
    assert 1e-4 < worst_error([(4, 4)], dtype=torch.bfloat16) < 2e-2


def test_layers_without_filters_are_left_alone():
    net = SequenceModel(column("F", 4, F=lambda: MLP(4)), 4, 9, words=9)
    torch.testing.assert_close(with_filters(net, keep_time=2)(IDS)[0], net(IDS)[0])
