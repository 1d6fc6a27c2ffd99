"""Multiresolution convolution: a wavelet transform with learnt filters, whose scales are read with learnt weights.

B batch, N tokens, D channels, J scales, K taps of a filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dilated import DilatedState, dilations
from seefar.mixers.dplr import full_precision
from seefar.ops.dilated_conv import dilated_conv


class MultiresConv(Mixer):
    """Each channel is split into J scales by one pair of short filters, used again at every scale.

    a_0 = x,    a_{j+1, t} = sum_k low_k a_{j, t - k 2^j},    b_{j, t} = sum_k high_k a_{j, t - k 2^j}
    y_t = sum_j w_j b_{j, t} + w_J a_{J, t} + w_{J+1} x_t

    The finer a scale, the less of the past it holds: the memory fades. Nothing is thrown out between scales, so the
    transform moves along with its input. A channel has 2 K + J + 2 weights, whatever it reaches.

    Args:
        kernel: K.
        cover: tokens to be reached; J is the fewest scales that do.
        filters: (low, high) to begin with, the tap that acts at once first, such as ``dec_lo`` and ``dec_hi`` of
            PyWavelets; K is then their length. None for random ones.

    Attributes:
        reach: 1 + (K - 1) (2^J - 1), at least ``cover``.

    Reference: Shi et al., Sequence Modeling with Multiresolution Convolutional Memory, arXiv 2305.01638, and its code,
    with "fading" selection. Differs: its "uniform" selection is left out; scales are summed in float32 at least.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        kernel: int = 2,
        cover: int = 1024,
        filters: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        K = kernel if filters is None else len(filters[0])
        if filters is not None and len(filters[1]) != K:
            raise ValueError(f"MultiresConv: both filters have as many taps, got {K} and {len(filters[1])}")
        if dim < 1 or K < 2 or cover < 2:
            raise ValueError(
                f"MultiresConv: needs a channel, filters of 2 taps or more and a cover of 2 or more, got {dim=}, "
                f"{K} taps, {cover=}"
            )
        self.dilations = dilations(K, 2, cover)
        self.reach = 1 + (K - 1) * sum(self.dilations)
        pair = [_uniform(K, dim) * K**-0.5 for _ in range(2)]
        if filters is not None:
            pair = [torch.tensor(taps, dtype=torch.float32)[:, None].repeat(1, dim) for taps in filters]
        self.low, self.high = (nn.Parameter(taps) for taps in pair)
        J = len(self.dilations)
        self.weights = nn.Parameter(_uniform(J + 2, dim) * (J + 2) ** -0.5)
        for parameter in self.parameters():
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor, state: DilatedState | None = None) -> tuple[Tensor, DilatedState]:
        """Mix x (B, N, D), going on from ``state``."""
        exact = x.to(full_precision(self))
        J = len(self.dilations)
        read_JKD = self.weights[:J, None] * self.high
        past = None if state is None else state.past_BPD
        y, after = dilated_conv(
            exact,
            self.low.expand(J, -1, -1),
            read_JKD,
            self.weights[J],
            past,
            dilations=self.dilations,
        )
        return (y + self.weights[J + 1] * exact).to(x.dtype), DilatedState(after)


class Multires(Mixer):
    """A multiresolution memory of each channel, then one gated layer that mixes the channels.

    y = glu(W gelu(MultiresConv(x)))

    Args:
        kernel: taps of the filters.
        cover: tokens to be reached.
        filters: to begin with, see ``MultiresConv``.

    Reference: Shi et al., arXiv 2305.01638. Differs: no dropout.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        kernel: int = 2,
        cover: int = 1024,
        filters: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.conv = MultiresConv(dim, kernel=kernel, cover=cover, filters=filters)
        self.out_proj = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, state: DilatedState | None = None) -> tuple[Tensor, DilatedState]:
        """Mix x (B, N, D), going on from ``state``."""
        y, end = self.conv(x, state)
        return F.glu(self.out_proj(F.gelu(y)), -1), end


def _uniform(*shape: int) -> Tensor:
    return torch.empty(*shape).uniform_(-1, 1)
