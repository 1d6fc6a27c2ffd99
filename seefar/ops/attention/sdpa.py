"""PyTorch's fused attention, wherever it computes the same thing."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from seefar.ops.attention.rules import Rules

LARGEST_MASK = 2**20  # entries; computing what a larger mask forbids costs more than skipping it tile by tile


def cannot_run(q: Tensor, k: Tensor, v: Tensor, rules: Rules | None = None) -> str | None:
    """Needs no log-sum-exp, a key for every query, and a mask of bearable size."""
    if rules is None:
        return None
    if rules.lse:
        return "does not return the log-sum-exp"
    if rules.may_be_empty:
        return "a query may be left without a key, for which it promises nothing"
    rows = q.shape[0] if rules.segments is not None else 1
    if not _is_plain(rules) and rows * rules.N * rules.M > LARGEST_MASK:
        return f"would need a mask of {rows} x {rules.N} x {rules.M} entries, above {LARGEST_MASK}"
    return None


def run(q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> tuple[Tensor, None]:
    """Everything, or causal between equals, without a mask; all else with one."""
    mask = None
    if not _is_plain(rules):
        mask = rules.allowed(slice(0, rules.N), slice(0, rules.M), q.device)
        mask = None if mask is None else mask[:, :, 0]
    o = scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=rules.causal and mask is None,
        scale=rules.scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return o, None


def _is_plain(rules: Rules) -> bool:
    return rules.window is None and rules.segments is None and (not rules.causal or rules.N == rules.M)
