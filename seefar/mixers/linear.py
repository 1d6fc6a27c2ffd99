"""Linear attention that divides by the sum of its weights, with an exchangeable feature map.

B batch, N tokens, H heads, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.ops.linear_attention import linear_attention


class NormalizedLinear(nn.Module):
    """Weights are products of features, over their sum: o_n = sum_m f(q_n) . f(k_m) v_m / sum_m f(q_n) . f(k_m).

    Args:
        feature: f, nowhere negative; ReLU when left out. A query whose features meet none gets zeros.

    Reference: Katharopoulos et al., Transformers are RNNs, arXiv 2006.16236, there with elu(x) + 1.
    """

    def __init__(self, feature: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.feature = feature

    def direct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d), with the weights written out."""
        q, k = self._features(q, k, mask)
        weights = q @ k.mT
        return weights @ v / _safe(weights.sum(-1, keepdim=True))

    def linear(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d) through the sum of f(k_m) (v_m, 1)^T."""
        q, k = self._features(q, k, mask)
        sums, _ = linear_attention(q, k, torch.cat([v, torch.ones_like(v[..., :1])], -1), causal=False)
        return sums[..., :-1] / _safe(sums[..., -1:])

    def pays(self, N: int, d: int) -> bool:
        """Whether ``linear`` takes less work: from d tokens on."""
        return d <= N

    def _features(self, q: Tensor, k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        k = self.feature(k)
        return self.feature(q), k if mask is None else k * mask[:, None, :, None]


def _safe(total: Tensor) -> Tensor:
    return total.masked_fill(total == 0, 1)
