"""Attention rollout: the weights that layers used, and their product."""

import pytest
import torch

from seefar.analysis import attention_maps, centre_of_mass, rollout
from seefar.backbones import vit
from seefar.mixers import Attention, Block, Stack
from seefar.positions import Rope


@pytest.mark.parametrize(
    "options", [{"causal": False}, {"kv_heads": 2}, {"window": 3}, {"rope": Rope(4), "qk_norm": torch.nn.RMSNorm}]
)
def test_weights_are_those_that_the_layer_mixed_with(options):
    torch.manual_seed(0)
    layer, x = Attention(16, 4, **options).double(), torch.randn(2, 9, 16).double()
    (weights,) = attention_maps(layer, lambda: layer(x))
    values = layer.v_proj(x).unflatten(-1, (layer.kv_heads, -1)).transpose(1, 2)
    values = values.repeat_interleave(4 // layer.kv_heads, 1)
    mixed = layer.o_proj((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixed, layer(x)[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9).double())


def test_layers_come_in_the_order_they_ran_and_hooks_are_gone():
    model = vit(16, 3, 2, grid=(2, 2))
    weights = attention_maps(model, lambda: model(torch.rand(2, 3, 32, 32)))
    assert [tuple(w.shape) for w in weights] == [(2, 2, 5, 5)] * 3
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_rollout_is_the_published_product():
    torch.manual_seed(0)
    weights = [torch.rand(2, 3, 5, 5).double().softmax(-1) for _ in range(4)]
    joint = None
    for layer in weights:  # as the released code has it, one sample after another
        samples = []
        for i in range(2):
            step = layer[i].max(0).values + torch.eye(5)
            step = step / step.sum(-1, keepdim=True)
            samples.append(step if joint is None else step @ joint[i])
        joint = torch.stack(samples)
    torch.testing.assert_close(rollout(weights), joint, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rollout(weights).sum(-1), torch.ones(2, 5).double())


def test_attention_that_stays_put_rolls_out_to_nothing_else():
    still = [torch.eye(4).expand(1, 2, 4, 4)] * 3
    assert torch.equal(rollout(still), torch.eye(4)[None])


def test_the_centre_of_a_map_is_where_its_mass_is():
    maps = torch.full((2, 3, 5), 0.2)
    maps[0, 0, 4] += 1
    maps[1, 1, 1:3] += 1
    torch.testing.assert_close(centre_of_mass(maps), torch.tensor([[1.0, -1.0], [-0.25, 0.0]]))
    assert torch.equal(centre_of_mass(torch.ones(1, 3, 3)), torch.zeros(1, 2))


def test_nothing_to_look_at_is_refused():
    column = Stack([Block(8, Attention(8, 2))])
    with pytest.raises(ValueError, match="ran none of 1 layers"):
        attention_maps(column, lambda: None)
    with pytest.raises(ValueError, match="got none"):
        rollout([])
    with pytest.raises(ValueError, match=r"\(B, h, w\)"):
        centre_of_mass(torch.rand(3, 3))
    x, state = column(torch.rand(1, 3, 8))
    with pytest.raises(ValueError, match="went on from a state"):
        attention_maps(column, lambda: column(x, state))
