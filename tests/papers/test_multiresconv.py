"""Multiresolution convolution: its file keeps its shape, what it builds streams, has few weights and reaches far."""

import torch

from seefar.mixers import S4D
from seefar.papers import multiresconv
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(multiresconv, Scale("smoke", (0,)))


def test_what_it_builds_streams_and_is_bounded():
    torch.manual_seed(0)
    column = multiresconv.build(4, 2, kernel=2, cover=8)
    assert column.causal and column.bounded
    check_streaming(column, torch.randn(1, 17, 4))


def test_a_layer_reaches_what_it_covers_and_no_token_more():
    torch.manual_seed(0)
    x = torch.randn(1, 40, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(multiresconv.build(4, 1, kernel=2, cover=16)(x)[0][:, 30].sum(), x)
    assert grad.abs().sum((0, 2)).nonzero().flatten().tolist() == list(range(15, 31))


def test_reaching_twice_as_far_costs_one_weight_a_channel():
    sizes = [multiresconv._weights(multiresconv.build(8, 1, cover=cover)) for cover in (512, 1024)]
    assert sizes[1] - sizes[0] == 8
    memory = sizes[1] - (8 * 16 + 16) - 8  # without the gated layer and the norm
    assert memory == 8 * (2 * 2 + 10 + 2) and memory < 0.15 * multiresconv._weights(S4D(8, states=64).ssm)
