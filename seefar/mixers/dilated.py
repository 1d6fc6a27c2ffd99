"""Dilated convolutions as memories: layers of short filters whose taps lie ever further apart.

B batch, N tokens, D channels, J layers, K taps of a layer, P tokens that a stream holds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision
from seefar.ops.dilated_conv import dilated_conv


class DilatedState(NamedTuple):
    """What each layer still needs of its input, the first layer's first; P = (K - 1) sum of the dilations."""

    past_BPD: Tensor


class DilatedConv(Mixer):
    """A temporal convolution network without activations: few layers reach far, at O(N K J) for a channel.

    a_0 = x,    a_{j+1, t} = sum_k f_{j,k} a_{j, t - k factor^j},    y = a_J + omega x

    Output t depends on the ``reach`` tokens up to t and on no earlier one. Begins as a residual path: the tap that
    acts at once is 1 and each tap has noise of variance 1 / (J K) on it.

    Args:
        kernel: K.
        factor: by which the distance of taps grows from layer to layer.
        cover: tokens to be reached; as many layers are taken as that needs.

    Attributes:
        reach: 1 + (K - 1) (factor^J - 1) / (factor - 1), at least ``cover``.

    Reference: Terzic et al., TCNCA, arXiv 2312.05605, which has no code. Differs: one convolution a layer, and neither
    activations nor norms between layers, so that the whole is one linear filter; omega as in Mega's averages.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, *, kernel: int = 17, factor: int = 4, cover: int = 1024) -> None:
        super().__init__()
        if dim < 1 or kernel < 2 or factor < 2 or cover < 2:
            raise ValueError(
                f"DilatedConv: needs a channel, and kernel, factor and cover of at least 2, got {dim=}, {kernel=}, "
                f"{factor=}, {cover=}"
            )
        self.dilations = dilations(kernel, factor, cover)
        self.reach = 1 + (kernel - 1) * sum(self.dilations)
        J = len(self.dilations)
        taps_JKD = torch.randn(J, kernel, dim) * (J * kernel) ** -0.5
        taps_JKD[:, 0] += 1
        self.taps = nn.Parameter(taps_JKD)
        self.omega = nn.Parameter(torch.randn(dim))
        for parameter in self.parameters():
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor, state: DilatedState | None = None) -> tuple[Tensor, DilatedState]:
        """Mix x (B, N, D), going on from ``state``."""
        exact = x.to(full_precision(self))
        past = None if state is None else state.past_BPD
        y, after = dilated_conv(exact, self.taps, past=past, dilations=self.dilations)
        return (y + self.omega * exact).to(x.dtype), DilatedState(after)


def dilations(kernel: int, factor: int, cover: int) -> tuple[int, ...]:
    """1, factor, factor^2, ... for as many layers of ``kernel`` taps as reach ``cover`` tokens."""
    found = [1]
    while 1 + (kernel - 1) * sum(found) < cover:
        found.append(found[-1] * factor)
    return tuple(found)
