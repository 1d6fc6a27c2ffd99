"""Columns from patterns: what is spelled is what is built, and it streams."""

import pytest
import torch

from seefar.mixers import MLP, Attention, GatedRecurrence, column
from seefar.mixers.pattern import spelled
from seefar.testing import check_streaming


def test_groups_repeat_inside_and_out():
    assert spelled("(M F A F)*3") == "MFAF" * 3
    assert spelled("A (B (C D)*2)*2 E") == "ABCDCDBCDCDE"


@pytest.mark.parametrize("pattern", ["", "(M F", "M)*2", "m", "M*2", "(M)*x", "()"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="pattern: "):
        spelled(pattern)


def test_a_letter_without_a_maker_is_named():
    with pytest.raises(ValueError, match="no maker for X; pass X=lambda"):
        column("F X", 8)


def test_every_letter_is_a_fresh_mixer_with_its_own_norm():
    made = column("(G F)*2", 8, G=lambda: GatedRecurrence(8))
    first, second = made.blocks[0].mixer, made.blocks[2].mixer
    assert type(first) is type(second) is GatedRecurrence and first is not second
    assert [type(block.mixer) for block in made.blocks[1::2]] == [MLP, MLP]
    assert len({id(block.norm) for block in made.blocks}) == 4


def test_it_streams():
    made = column("(G F A F)", 8, G=lambda: GatedRecurrence(8), A=lambda: Attention(8, 2, window=5))
    check_streaming(made, torch.randn(2, 23, 8))


def test_a_gated_mlp_is_swiglu():
    mlp = MLP(6, gated=True)
    x = torch.randn(2, 3, 6)
    want = mlp.out(torch.nn.functional.silu(x @ mlp.gate.weight.T) * (x @ mlp.into.weight.T))
    torch.testing.assert_close(mlp(x)[0], want)
    assert mlp.into.weight.shape == (16, 6)
    check_streaming(mlp, x)
