"""SOFT: its file keeps its shape, and softmax has as many parameters as SOFT."""

import pytest

from seefar.mixers import GaussianAttention
from seefar.papers import soft
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(soft, Scale("smoke", (0,)))


def test_arms_of_the_claim_have_as_many_parameters():
    counts = {
        name: sum(p.numel() for p in soft.post_norm_column(32, make, ratio=2).parameters())
        for name, make in {
            "softmax": lambda: soft.Attention(32, 2, causal=False, bias=True),
            "SOFT++": lambda: GaussianAttention(32, 2, (8, 8), ratio=2),
        }.items()
    }
    assert counts["SOFT++"] == pytest.approx(counts["softmax"], rel=0.01)
