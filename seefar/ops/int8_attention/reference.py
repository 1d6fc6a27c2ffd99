"""All scores at once, from the same whole numbers; products in float64, in which they are exact."""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops.int8_attention.quantize import quantize_int8
from seefar.ops.int8_attention.rules import Rounded


def cannot_run(*_: Tensor) -> None:
    """Always runs."""


def run(q: Tensor, k: Tensor, v: Tensor, how: Rounded) -> tuple[Tensor, Tensor]:
    """The mean of the values and the log-sum-exp, both float32; rows without a key give zeros and -inf."""
    (N, M), shared = (q.shape[2], k.shape[2]), q.shape[1] // k.shape[1]
    scores = products(q, k, how) * how.scale
    if how.causal:
        seen = torch.arange(M, device=q.device) <= torch.arange(M - N, M, device=q.device)[:, None]
        scores = scores.masked_fill(~seen, -torch.inf)
    top = scores.amax(-1, keepdim=True)
    much = (scores - top.masked_fill(top == -torch.inf, 0)).exp()
    total = much.sum(-1, keepdim=True)
    weights = torch.floor(much * how.weights + 0.5) / how.weights
    numbers, scale = quantize_int8(v, "channel", levels=how.values)
    values = (numbers.double() * scale).repeat_interleave(shared, 1)
    o = weights @ values / total.masked_fill(total == 0, 1)
    return o.float(), (top + total.log()).squeeze(-1).float()


def products(q: Tensor, k: Tensor, how: Rounded) -> Tensor:
    """(B, H, N, M) float64: int8 products times both scales; the scale of the scores is not in them yet."""
    q8, q_scale = quantize_int8(q, "block", block=how.queries)
    k8, k_scale = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in quantize_int8(k, "block", block=how.keys))
    return q8.double() @ k8.double().mT * (q_scale.double() * k_scale.double().mT)
