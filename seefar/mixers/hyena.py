"""Hyena: one long filter a head, whose taps a small network draws from their place, between two gates.

B batch, N tokens, D channels, M heads, w channels of a head, S signals of a head, T taps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision
from seefar.ops.long_conv import long_conv
from seefar.ops.short_conv import short_conv


class ConvState(NamedTuple):
    """All that was filtered so far, and taps for at least as many tokens (the next power of two)."""

    past_BNMS: Tensor
    taps_TM: Tensor


class ImplicitConv(Mixer):
    """Filters the signals of each head by a filter as long as all that came before; few weights make all its taps.

    h_t = (W mlp(t / L, cos(2 pi f t / L), sin(2 pi f t / L)) + [t = 0] D) exp(-a t / L),    mlp with sine activations

    It mixes (B, N, M, S): S signals of a head share its filter. A stream holds all inputs, so it is not ``bounded``;
    one token costs as many products as tokens were read. ``Modal`` is the same with a state that does not grow.

    Args:
        heads: M.
        length: L, the tokens that the features and the window are laid out for; longer sequences run on.
        bands: waves among the features, f from 1e-4 to bands - 1.
        width: of the network, which has three hidden layers.
        frequency: of its sines, larger ones let taps differ more from their neighbours.
        decay: share of L after which the window of the first, and of the last head has fallen to 1 %.

    Reference: Poli et al., Hyena Hierarchy, arXiv 2302.10866. Differs: frequencies of the sines are not learnt; no
    shift is added to the window, which thus goes to zero.
    """

    causal, bounded = True, False

    def __init__(
        self,
        heads: int,
        *,
        length: int = 1024,
        bands: int = 4,
        width: int = 64,
        frequency: float = 10.0,
        decay: tuple[float, float] = (0.3, 1.5),
    ) -> None:
        super().__init__()
        if min(heads, length, bands, width) < 1:
            raise ValueError(
                f"ImplicitConv: every size must be at least 1, got {heads=}, {length=}, {bands=}, {width=}"
            )
        if min(decay) <= 0:
            raise ValueError(f"ImplicitConv: a window must fall, at positive shares of the length, got {decay=}")
        self.heads, self.length, self.bands, self.frequency = heads, length, bands, frequency
        sizes = [1 + 2 * bands, width, width, width]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, heads, bias=False)
        self.D = nn.Parameter(torch.randn(heads))
        self.D._no_weight_decay = True  # type: ignore[attr-defined]
        fastest, slowest = (math.log(100) / share for share in decay)
        self.register_buffer("decay_M", torch.linspace(fastest, slowest, heads))

    def kernel(self, length: int) -> Tensor:
        """(length, M) taps, the one that acts at once first."""
        if length < 1:
            raise ValueError(f"ImplicitConv: a kernel has at least one tap, got {length=}")
        place_T = torch.arange(length, device=self.D.device, dtype=full_precision(self)) / self.length
        band = torch.linspace(1e-4, self.bands - 1, self.bands, device=place_T.device, dtype=place_T.dtype)
        angle_Tf = 2 * math.pi * place_T[:, None] * band
        h = torch.cat([place_T[:, None], angle_Tf.cos(), angle_Tf.sin()], 1)
        for layer in self.hidden:
            h = (self.frequency * layer(h)).sin()
        taps_TM = self.out(h) * torch.exp(-place_T[:, None] * self.get_buffer("decay_M"))
        return torch.cat([taps_TM[:1] + self.D, taps_TM[1:]])

    def forward(self, x: Tensor, state: ConvState | None = None) -> tuple[Tensor, ConvState]:
        """Filter x (B, N, M, S), going on from ``state``."""
        past_BNMS = x.to(full_precision(self))
        if state is not None:
            past_BNMS = torch.cat([state.past_BNMS, past_BNMS], 1)
        N, total = x.shape[1], past_BNMS.shape[1]
        taps_TM = self.kernel(1 << (total - 1).bit_length()) if state is None else state.taps_TM
        if len(taps_TM) < total:
            taps_TM = self.kernel(1 << (total - 1).bit_length())
        if N == 1:
            y = torch.einsum("bnms,nm->bms", past_BNMS, taps_TM[:total].flip(0))[:, None]
        else:
            y = long_conv(past_BNMS, taps_TM[:total, :, None])[:, -N:]
        return y.to(x.dtype), ConvState(past_BNMS, taps_TM)


class HyenaState(NamedTuple):
    """The last tokens that the short filters still reach, (B, short - 1, 3 D), and the state of the long one."""

    recent_BTD: Tensor
    long: Any


class Hyena(Mixer):
    """What two gates let through is carried far by one filter a head, and read by a third gate.

    q, k, v = short filters of W x,    y_t = W_o sum_s h_s (v_{t-s} k_{t-s}^T) q_t    in each head

    With as many heads as channels this is Hyena of order two, ``y = q * (h conv (k * v))``. With fewer, w = D / heads
    channels meet in an outer product whose w^2 signals share one filter: MultiHyena, an attention without softmax whose
    weight depends on the distance.

    Args:
        heads: M; None for one a channel.
        length: L of the filter, see ``ImplicitConv``.
        short: taps of the short filters, one for each channel of q, k and v.
        conv: filters (B, N, M, w^2) by head; ``ImplicitConv(heads, length=length)`` when left out. ``bounded`` is its.

    Reference: Poli et al., arXiv 2302.10866; heads: Massaroli et al., Laughing Hyena Distillery, arXiv 2310.18780.
    """

    causal = True

    def __init__(
        self, dim: int, *, heads: int | None = None, length: int = 1024, short: int = 3, conv: Mixer | None = None
    ) -> None:
        super().__init__()
        heads = dim if heads is None else heads
        if heads < 1 or dim % heads:
            raise ValueError(f"Hyena: heads must divide dim={dim}, got {heads}")
        if short < 1:
            raise ValueError(f"Hyena: a short filter has at least one tap, got {short=}")
        self.heads, self.short = heads, short
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.short_conv = nn.Conv1d(3 * dim, 3 * dim, short, groups=3 * dim)
        self.conv = ImplicitConv(heads, length=length) if conv is None else conv
        self.bounded = self.conv.bounded
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, state: HyenaState | None = None) -> tuple[Tensor, HyenaState]:
        """Mix x (B, N, D), going on from ``state``."""
        p_BTD = self.in_proj(x)
        weight, bias = self.short_conv.weight[:, 0], self.short_conv.bias
        near, recent = short_conv(p_BTD, weight, bias, None if state is None else state.recent_BTD)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in near.chunk(3, -1))
        far_BNMS, past = self.conv(
            (v[..., :, None] * k[..., None, :]).flatten(-2), None if state is None else state.long
        )
        y_BNMw = (far_BNMS.unflatten(-1, (v.shape[-1], -1)) * q[..., None, :]).sum(-1)
        return self.out_proj(y_BNMw.flatten(2)), HyenaState(recent, past)
