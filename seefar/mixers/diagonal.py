"""Diagonal state space: a sum of damped waves; the heart of S4D.

B batch, N tokens, D channels, S states of a channel, H = S / 2 conjugate pairs, T tokens of a block, K blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import StateSpaceState, full_precision, log_steps, steps
from seefar.mixers.hippo import Modes, linear
from seefar.ops.long_conv import long_conv


class Diagonal(Mixer):
    """Each channel is filtered by S / 2 damped waves, each with a frequency, a decay and a readout of its own.

    x' = lambda x + u,    y = 2 Re(C . x) + D u,    lambda = -exp(log_A_real) + i A_imag

    with u held through each step dt, which is exact: Ab = exp(dt lambda), Bb = (exp(dt lambda) - 1) / lambda. All
    tokens at once: a convolution with K_t = 2 Re sum C Bb exp(dt lambda t). The exponentials are made for the tokens
    of one block and for the starts of blocks, S sqrt(N) of each; their products are a product of matrices.

    Weights that are the system's own are not decayed by ``training.fit``.

    Args:
        states: S, even.
        dt: lowest and highest step; each channel draws its own, evenly in log.
        init: states -> ``hippo.Modes`` to begin with; its P is left out, its B goes into C.
        rate: step of the input over that of training; set ``mixer.rate = 0.5`` when it is sampled twice as finely.

    Reference: Gu et al., S4D, arXiv 2206.11893.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int = 64,
        dt: tuple[float, float] = (1e-3, 1e-1),
        init: Callable[[int], Modes] = linear,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate = rate
        self.log_dt = nn.Parameter(log_steps(dim, dt))
        eigenvalue_H, _, B_H = init(states)
        self.log_A_real = nn.Parameter((-eigenvalue_H.real).log().float().repeat(dim, 1))
        self.A_imag = nn.Parameter(eigenvalue_H.imag.float().repeat(dim, 1))
        C_DH = B_H.to(torch.complex64) * torch.randn(dim, len(B_H), dtype=torch.complex64)
        self.C = nn.Parameter(torch.view_as_real(C_DH))
        self.D = nn.Parameter(torch.randn(dim))
        for parameter in (self.log_dt, self.log_A_real, self.A_imag, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Filter x (B, N, D), going on from ``state``."""
        u_BND = x.to(full_precision(self))
        N, D, H = x.shape[1], *self.A_imag.shape
        exponent_DH, B_DH, C_DH = self._system()
        start_BDH = C_DH.new_zeros(len(x), D, H) if state is None else torch.complex(*state.x_BDS.chunk(2, -1))
        if N == 1:
            end_BDH = exponent_DH.exp() * start_BDH + B_DH * u_BND[:, 0, :, None]
            y_BND = 2 * (C_DH * end_BDH).real.sum(-1)[:, None]
        else:
            within_DHT, starts_DHK = _waves(exponent_DH, N)
            y_BND = long_conv(u_BND, self.kernel(N).mT)
            T = within_DHT.shape[-1]
            blocks_BKTD = F.pad(u_BND, (0, 0, -N % T, 0)).unflatten(1, (-1, T))
            taps_DST = torch.cat([within_DHT.real, within_DHT.imag], 1).flip(-1)
            ends_BDSK = torch.einsum("dst,bktd->bdsk", taps_DST, blocks_BKTD)
            driven_BDH = (torch.complex(*ends_BDSK.chunk(2, 2)) * starts_DHK.flip(-1)).sum(-1)
            end_BDH = (N * exponent_DH).exp() * start_BDH + B_DH * driven_BDH
            if state is not None:
                later_BDH = C_DH * exponent_DH.exp() * start_BDH
                y_BND = y_BND + _real_products(later_BDH[..., None] * starts_DHK, within_DHT).mT[:, :N]
        return (y_BND + self.D * u_BND).to(x.dtype), StateSpaceState(torch.cat([end_BDH.real, end_BDH.imag], -1))

    def kernel(self, length: int) -> Tensor:
        """(D, length) what each channel answers to a single one, without D u."""
        full_precision(self)
        exponent_DH, B_DH, C_DH = self._system()
        within_DHT, starts_DHK = _waves(exponent_DH, length)
        return _real_products((C_DH * B_DH)[..., None] * starts_DHK, within_DHT)[:, :length]

    def _system(self) -> tuple[Tensor, Tensor, Tensor]:
        """dt lambda, Bb and C, (D, H)."""
        eigenvalue_DH = torch.complex(-self.log_A_real.exp(), self.A_imag)
        exponent_DH = steps(self.log_dt, self.rate)[:, None] * eigenvalue_DH
        return exponent_DH, _expm1(exponent_DH) / eigenvalue_DH, torch.view_as_complex(self.C)


def _waves(exponent_DH: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """exp(e t) at the tokens (D, H, T) of a block, and at the starts (D, H, K) of blocks."""
    if length < 1:
        raise ValueError(f"Diagonal: length must be at least 1, got {length}")
    T = isqrt(length - 1) + 1
    count = torch.arange(max(T, -(-length // T)), device=exponent_DH.device)
    return (exponent_DH[..., None] * count[:T]).exp(), (exponent_DH[..., None] * (T * count[: -(-length // T)])).exp()


def _real_products(a_DHK: Tensor, b_DHT: Tensor) -> Tensor:
    """(..., D, K T) 2 Re sum_h a_hk b_ht of (..., D, H, K) and (D, H, T), in real numbers."""
    rows = torch.cat([2 * a_DHK.real, -2 * a_DHK.imag], -2).mT
    return (rows @ torch.cat([b_DHT.real, b_DHT.imag], -2)).flatten(-2)


def _expm1(z: Tensor) -> Tensor:
    """exp(z) - 1, exact near zero, where the steps are."""
    real = torch.expm1(z.real) * z.imag.cos() - 2 * (z.imag / 2).sin().square()
    return torch.complex(real, z.real.exp() * z.imag.sin())
