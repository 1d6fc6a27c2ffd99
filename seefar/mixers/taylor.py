"""TaylorShift: softmax attention with the exponential replaced by its Taylor polynomial of second order.

B batch, N tokens, H heads, d channels of a head.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.ops.taylor_attention import Parabola, taylor_attention
from seefar.ops.taylor_attention.switch import pays

WIDE = 64
"""Width of a head from which on the sums of the linear form, d^3 / 2 numbers, get out of hand."""


class Taylor(nn.Module):
    """Weights are a parabola of the cosine between query and key, sharpened by a learned temperature of each head.

    o_n = sqrt(N / d) sum_m w_nm v_m / sum_m w_nm,    w = a s^2 + b s + c,    s = tau_h cos(q_n, k_m)

    A mean over N tokens is about sqrt(d / N) of a token in size; the factor in front keeps the size of a token.

    Args:
        heads: H.
        parabola: a, b and c; the Taylor polynomial of exp(s) when left out.
        keep_size: the factor sqrt(N / d), where N counts the tokens that are no padding.
        tile: of ``ops.taylor_attention``.

    Raises:
        ValueError: a parabola that has negative values.

    Reference: Nauen et al., TaylorShift, arXiv 2403.02920.
    """

    def __init__(
        self, heads: int, *, parabola: Parabola | None = None, keep_size: bool = True, tile: int | None = 256
    ) -> None:
        super().__init__()
        self.parabola, self.keep_size, self.tile = parabola or Parabola(), keep_size, tile
        if not (self.parabola.a > 0 and self.parabola.c >= self.parabola.b**2 / (4 * self.parabola.a)):
            raise ValueError(f"Taylor: needs a > 0 and c >= b^2 / 4a, or some weights are negative, got {parabola}")
        self.tau = nn.Parameter(torch.ones(heads, 1, 1))

    def direct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d) by all pairs."""
        return self._attend(q, k, v, mask, "direct")

    def linear(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d) by sums over keys; warns of wide heads, as its work grows with d^3."""
        if q.shape[-1] > WIDE:
            warnings.warn(
                f"Taylor: heads of width {q.shape[-1]} make sums of {q.shape[-1]}^3 / 2; use more heads", stacklevel=3
            )
        return self._attend(q, k, v, mask, "linear")

    def pays(self, N: int, d: int) -> bool:
        """Whether ``linear`` takes less work."""
        return pays(N, N, d)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, backend: str) -> Tensor:
        q, k = F.normalize(q, dim=-1) * self.tau, F.normalize(k, dim=-1)
        o = taylor_attention(q, k, v, mask=mask, parabola=self.parabola, tile=self.tile, backend=backend)
        if not self.keep_size:
            return o
        if mask is None:
            return o * (k.shape[2] / q.shape[3]) ** 0.5
        return o * (mask.sum(-1).to(o)[:, None, None, None] / q.shape[3]).sqrt()
