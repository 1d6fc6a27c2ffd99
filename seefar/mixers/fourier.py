"""Two Fourier transforms in place of attention: every token sees all others, and nothing is learnt.

B batch, N tokens, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.mixers.base import Mixer


class Fourier(Mixer):
    """Mix along tokens and along channels with fixed waves, and keep the real part: y = Re(F_N x F_D).

    F_n is the matrix of the discrete Fourier transform, exp(-2 pi i j k / n). O(N log N), no weights. Every token sees
    all others, so it is not causal: it holds no state and refuses one.

    Reference: Lee-Thorp et al., FNet, arXiv 2105.03824.
    """

    causal, bounded = False, True

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Mix x (B, N, D), in float32 at least."""
        if state is not None:
            raise ValueError("Fourier: every token sees all, so there is no state to go on from")
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        return torch.fft.fft2(exact, dim=(1, 2)).real.to(x.dtype), None
