"""Oracle: ``nn.MultiheadAttention`` with the same weights; inside Hourglass the published form, see its tests."""

import pytest
import torch
from torch import nn

from seefar.mixers.look import Look, LookState
from seefar.positions.rope import Rope


def make(rope=None):
    torch.manual_seed(0)
    look = Look(8, 2, rope=rope).double()
    rough, others, beside = torch.randn(3, 2, 6, 8).double().unbind()
    return look, rough, others[:, :4], beside


def test_is_attention_to_what_is_not_later_then_an_mlp():
    look, rough, others, beside = make()
    known = nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
    known.load_state_dict(
        {
            "in_proj_weight": torch.cat([look.q_proj.weight, look.k_proj.weight, look.v_proj.weight]),
            "out_proj.weight": look.o_proj.weight,
        }
    )
    places = torch.tensor([0, 1, 2, 3, 4, 9])
    u = look.query_norm(rough) + beside
    wanted, _ = known(u, others, others, attn_mask=places[:, None] < torch.tensor([0, 2, 4, 6]))
    wanted = look.mlp(u + wanted)[0]
    found = look(rough, places, look.remember(others, stride=2), stride=2, beside=beside)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_is_remembered_bit_by_bit_is_the_same():
    look, _, others, _ = make(Rope(4))
    whole, state = look.remember(others, stride=3), None
    for piece in others.split((1, 2, 1), 1):
        state = look.remember(piece, state, stride=3)
    torch.testing.assert_close(state, whole, rtol=1e-12, atol=1e-12)


def test_with_a_rope_distances_count_and_nothing_else():
    look, rough, others, _ = make(Rope(4))
    places, state = torch.arange(3, 9), look.remember(others)
    later = LookState(
        *(part[:, :, 5:] for part in look.remember(torch.cat([others[:, :1].expand(-1, 5, -1), others], 1)))
    )
    queries = look.q_proj(look.query_norm(rough)).unflatten(-1, (2, 4)).transpose(1, 2)
    scores = look.rope(queries, places) @ state.k_BHMd.mT
    torch.testing.assert_close(look.rope(queries, places + 5) @ later.k_BHMd.mT, scores, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(look(rough, places + 1, state), look(rough, places, state))


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="heads must divide dim=8, got 3"):
        Look(8, 3)
    with pytest.raises(ValueError, match=r"use Rope\(4\)"):
        Look(8, 2, rope=Rope(8))
