"""FlashAttention: its file keeps its shape, its bars are those of its card, what it builds is exact."""

import pytest
import torch

from seefar.evals.protocols import Curves, Figure
from seefar.papers import flash_attention
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(flash_attention, Scale("smoke", (0,)))


def test_what_it_builds_is_exact_attention():
    q, k, v = torch.randn(3, 1, 2, 300, 8).double()
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(flash_attention.build()(q, k, v), want, rtol=1e-10, atol=1e-10)


def test_what_it_builds_refuses_an_unknown_backend():
    with pytest.raises(ValueError, match="unknown backend 'fa1'"):
        flash_attention.build(backend="fa1")(*torch.randn(3, 1, 1, 4, 4))


def test_each_bar_falls_when_its_figure_does():
    def curves(**rows):
        return Curves({name.replace("_", " "): {n: Figure((f(n),)) for n in (1, 2, 4)} for name, f in rows.items()})

    def bars(tiled=1.0, grows=1, less=20.0):
        seconds = curves(
            tiled=lambda n: tiled, reference=lambda n: 2.0, PyTorch_unfused=lambda n: 2.2, PyTorch_fused=lambda n: 0.8
        )
        held = curves(tiled=lambda n: n**grows, reference=lambda n: less * n * n)
        return list(flash_attention._bars(seconds, held, [1, 2, 4]).values())

    assert bars() == [True, True, True, True, True]
    assert bars(tiled=1.02) == [False, True, True, True, True]
    assert bars(tiled=1.05) == [False, True, False, True, True]
    assert bars(grows=2) == [True, True, True, False, True]
    assert bars(less=4.9) == [True, True, True, True, False]
