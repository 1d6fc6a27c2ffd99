"""Attention with 8-bit products inside a model that was trained with exact ones; each layer as coarse as it can bear.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seefar.hf.attention import use_attention
from seefar.ops.attention import attention
from seefar.ops.int8_attention import Kind, int8_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sage:
    """An attention for ``use_attention``: 8-bit products where many queries come at once, exact ones where few do.

    Each call rounds all keys anew, which costs as much as a few queries; one token beside its cache is better off with
    exact products. Inference only.

    Args:
        kinds: of ``int8_attention``, by layer; ``calibrate`` finds them.
        kind: of the layers that are not named.
        least: queries from which on numbers are rounded.
        smooth: as in ``int8_attention``.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 100, 16)
        >>> Sage()(q, k, v).shape
        torch.Size([1, 2, 100, 16])

    Reference: Zhang et al., SageAttention, arXiv 2410.02367.
    """

    def __init__(
        self, kinds: Mapping[int, Kind] | None = None, *, kind: Kind = "qk", least: int = 32, smooth: bool = True
    ) -> None:
        if least < 1:
            raise ValueError(f"Sage: least is a number of queries, at least 1, got {least}")
        self.kinds, self.kind, self.least, self.smooth = dict(kinds or {}), kind, least, smooth

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, scale: float | None = None, layer: int = 0
    ) -> Tensor:
        """(B, H, N, dv) of queries (B, H, N, d) at the last N places of keys (B, Hkv, M, d) and values."""
        if q.shape[2] < self.least:
            return attention(q, k, v, causal=causal, scale=scale)
        kind = self.kinds.get(layer, self.kind)
        o = int8_attention(q, k, v, causal=causal, scale=scale, kind=kind, smooth=self.smooth)
        assert isinstance(o, Tensor)
        return o


def calibrate(model: PreTrainedModel, ids: Tensor, *, bar: float = 0.998, least: int = 32, **inputs: Any) -> Sage:
    """The ``Sage`` whose layers round everything where that was good enough on these inputs, else queries and keys.

    Good enough is a cosine between the outputs of kind "all" and exact attention of ``bar`` or more, in the worst call
    of a layer.

    Args:
        model: of transformers, run once under exact attention.
        ids: (B, N) without padding; what the model will be used on.
        bar: the least cosine.
        least: as in ``Sage``.
        inputs: more arguments for the model.

    Raises:
        ValueError: a bar outside of (0, 1], or a model of which no layer attends to ``least`` queries at once.
    """
    if not 0 < bar <= 1:
        raise ValueError(f"calibrate: bar is a cosine in (0, 1], got {bar}")
    lowest: dict[int, float] = {}

    def watched(
        q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, scale: float | None = None, layer: int = 0
    ) -> Tensor:
        exact = attention(q, k, v, causal=causal, scale=scale)
        if q.shape[2] >= least:
            rounded = int8_attention(q, k, v, causal=causal, scale=scale, kind="all")
            assert isinstance(rounded, Tensor)
            near = cosine_similarity(rounded.double().flatten(), exact.double().flatten(), 0)
            lowest[layer] = min(lowest.get(layer, 1.0), float(near))
        return exact

    with torch.no_grad(), use_attention(model, watched):
        model(ids, **inputs)
    if not lowest:
        raise ValueError(
            f"calibrate: no layer attended to {least} queries at once; give longer ids, or a smaller least"
        )
    return Sage({layer: "all" if near >= bar else "qk" for layer, near in lowest.items()}, least=least)
