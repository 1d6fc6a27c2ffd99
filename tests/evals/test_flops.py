import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.flops import matrix_flops


def test_a_linear_layer_and_its_backward_take_three_products():
    layer, x = nn.Linear(6, 5), torch.randn(7, 6, requires_grad=True)
    assert matrix_flops(lambda: layer(x)) == 2 * 7 * 6 * 5
    assert matrix_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 7 * 6 * 5


def test_fused_attention_is_counted_over_all_pairs():
    q = torch.randn(1, 2, 8, 4)
    assert matrix_flops(lambda: scaled_dot_product_attention(q, q, q, is_causal=True)) == 2 * 2 * 2 * 8 * 8 * 4


def test_nothing_costs_nothing():
    assert matrix_flops(lambda: torch.ones(3).exp()) == 0
