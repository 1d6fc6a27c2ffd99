"""How near attention with rounded numbers comes to exact attention: on drawn inputs, and in a model that answers.

B texts, H heads, N tokens, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from seefar.evals.long_attention import Attend
from seefar.evals.protocols import Arm, Measure
from seefar.evals.swapped_attention import found_while_decoding
from seefar.hf.sage import Sage, calibrate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Inputs = Literal["normal", "shared offset", "outlying channels"]


def drawn(inputs: Inputs, length: int, seed: int, *, heads: int = 1, width: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v (1, H, N, d), normal but for the keys.

    To those of "shared offset" one and the same vector is added, 30 times as large as they are; two channels of
    "outlying channels" lie 50 and 20 away from zero, as after rotary positions.
    """
    draw = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 1, heads, length, width, generator=draw).unbind()
    if inputs == "shared offset":
        k = k + 30 * torch.randn(width, generator=draw)
    elif inputs == "outlying channels":
        k[..., 1], k[..., width // 2] = k[..., 1] + 50, k[..., width // 2] - 20
    return q, k, v


def nearness(attend: Attend, what: Literal["cosine", "relative L1"], *, width: int = 64) -> Arm:
    """Of the output to that of PyTorch in float64, at points (inputs, N)."""

    def prepared(seed: int) -> Measure:
        def measure(point: tuple[Inputs, int]) -> float:
            q, k, v = drawn(*point, seed, width=width)
            want = scaled_dot_product_attention(q.double(), k.double(), v.double()).flatten()
            got = attend(q, k, v).double().flatten()
            if what == "cosine":
                return float(cosine_similarity(got, want, 0))
            return float((got - want).abs().sum() / want.abs().sum())

        return measure

    return prepared


def calibrated(
    model_of: Callable[[int], PreTrainedModel], texts: Callable[[int, Any], Tensor], *, bar: float, point: Any
) -> tuple[Arm, Callable[[int], Sage]]:
    """The arm of ``found_while_decoding`` whose attention is calibrated for each seed, and that attention.

    Every product is rounded, also those of single queries.

    Args:
        model_of: seed -> a trained model.
        texts: ``texts(seed, point)`` gives (B, N).
        bar: of ``calibrate``.
        point: of the texts that calibrate, drawn for another seed than those of the test.
    """

    def chosen(seed: int) -> Sage:
        return calibrate(model_of(seed), texts(seed + 1_000, point), bar=bar, least=1)

    def prepared(seed: int) -> Measure:
        sage = chosen(seed)
        return found_while_decoding(model_of, lambda: sage, texts)(seed)

    return prepared, chosen
