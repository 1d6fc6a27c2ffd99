"""Cores: told of the behaviour at every layer, or not at all."""

import pytest
import torch
from torch import nn

from seefar.brain import AttentionCore, BehaviourMLP, ConvCore, full_width_attention
from seefar.embed import SlidingPatches
from seefar.mixers import Block


def attention_core(behaviours=5, dim=6):
    torch.manual_seed(0)
    blocks = [Block(dim, full_width_attention(dim, 2), norm=nn.LayerNorm) for _ in range(2)]
    return AttentionCore(SlidingPatches(dim, 4, 2, 1), blocks, grid=(3, 5), behaviours=behaviours).double()


def conv_core(behaviours=5):
    torch.manual_seed(0)
    return ConvCore(6, layers=3, kernels=(5, 3), stride=2, behaviours=behaviours).double().eval()


def trials(count=3):
    torch.manual_seed(1)
    return torch.randn(count, 1, 8, 12).double(), torch.randn(count, 5).double()


def published(core, pictures, behaviour):
    """The forward pass of the released code, written out anew with its own attention."""
    patches = nn.functional.unfold(pictures, 4, stride=2).mT
    x = core.embed.project(patches)
    x = torch.cat([core.cls_token.expand(len(x), 1, -1), x + core.place.table], 1)
    for block, told in zip(core.blocks, core.told, strict=True):
        first, _, second, _ = told.layers
        x = x + second(first(behaviour).tanh()).tanh()[:, None]
        inner = block.norm(x)
        q, k, v = (
            proj(inner).unflatten(-1, (2, -1)).transpose(1, 2)
            for proj in (block.mixer.q_proj, block.mixer.k_proj, block.mixer.v_proj)
        )
        heads = (q @ k.mT * x.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + block.mixer.o_proj(heads.transpose(1, 2).flatten(2))
        x = x + block.mlp(x)
    return x[:, 1:].mT.reshape(len(x), -1, 3, 5)


def test_the_attention_core_computes_what_the_published_one_does():
    core = attention_core()
    pictures, behaviour = trials()
    torch.testing.assert_close(core(pictures, behaviour), published(core, pictures, behaviour), rtol=1e-10, atol=1e-10)
    assert core.blocks[0].mixer.q_proj.weight.shape == (12, 6) and core.blocks[0].mixer.q_proj.bias is None
    assert core.blocks[0].mixer.o_proj.weight.shape == (6, 12)


@pytest.mark.parametrize("core, grid", [(attention_core(), (3, 5)), (conv_core(), (4, 6))])
def test_both_cores_hear_of_the_behaviour_in_every_layer(core, grid):
    pictures, behaviour = trials()
    features = core(pictures, behaviour)
    assert features.shape == (3, 6, *grid)
    features.square().sum().backward()
    assert len(core.told) > 1
    for told in core.told:
        assert told.layers[0].weight.grad.abs().sum() > 0
    changed = behaviour.clone()
    changed[1] += 1
    rows = (core(pictures, changed) != features).flatten(1).any(1)
    assert rows.tolist() == [False, True, False]


@pytest.mark.parametrize("core", [attention_core(0), conv_core(0)])
def test_a_core_that_is_not_told_does_not_listen(core):
    pictures, behaviour = trials()
    assert torch.equal(core(pictures, behaviour), core(pictures)) and not len(core.told)


def test_behaviour_moves_every_place_alike():
    behaviour = torch.randn(4, 5)
    out = BehaviourMLP(5, 8)(behaviour)
    assert out.shape == (4, 8) and out.abs().max() < 1
    with pytest.raises(ValueError, match="got 0 and 8"):
        BehaviourMLP(0, 8)


@pytest.mark.parametrize("core", [attention_core(), conv_core()])
def test_an_animal_without_behaviour_is_refused_where_it_is_needed(core):
    pictures, behaviour = trials()
    with pytest.raises(ValueError, match=r"was built for behaviour \(B, 5\), got None"):
        core(pictures)
    with pytest.raises(ValueError, match=r"got \(3, 2\)"):
        core(pictures, behaviour[:, :2])
    with pytest.raises(ValueError, match="odd kernels"):
        ConvCore(6, kernels=(4, 3))
