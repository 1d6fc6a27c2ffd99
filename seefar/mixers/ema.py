"""Exponential moving averages: each channel keeps S damped averages of its past and reads a mixture of them.

B batch, N tokens, D channels (2 D where both directions are read), S averages of a channel, T tokens of a block,
K blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.linear_scan import linear_scan

BLOCK = 64
"""Most tokens of a block: a product of matrices of this side stands for as many steps."""


class EMAState(NamedTuple):
    """The averages of every channel; float32 at least."""

    h_BDS: Tensor


class EMA(Mixer):
    """Each channel is read through S damped moving averages, fast and slow ones.

    h_t = q * h_{t-1} + p * beta * x_t,    y_t = S^{-1/2} gamma . h_t + omega x_t,    q = 1 - p * sigmoid(alpha)

    elementwise over S, with p = sigmoid(delta). A sequence is computed block by block: within a block of at most 64
    tokens by products of matrices, between blocks by a scan of their ends, O(N (64 + S)) for a channel and nothing as
    long as N times S. The same as a convolution with ``kernel(N)``, without that kernel.

    Args:
        states: S.
        bidirectional: also read the tokens after it, by averages of their own that leave the token itself out; such a
            mixer isn't causal.

    Its weights are not decayed by ``training.fit``.

    Reference: Ma et al., Mega, arXiv 2209.10655, and its code. Differs: blocks and a scan instead of a kernel of the
    sequence's length and its FFT; the activation after it belongs to ``GatedMixer``.
    """

    bounded = True

    def __init__(self, dim: int, *, states: int = 16, bidirectional: bool = False) -> None:
        super().__init__()
        if dim < 1 or states < 1:
            raise ValueError(f"EMA: needs at least one channel and one average of it, got {dim=}, {states=}")
        self.causal = not bidirectional
        kernels = 2 * dim if bidirectional else dim
        self.delta = nn.Parameter(0.2 * torch.randn(kernels, states))
        self.alpha = nn.Parameter(0.2 * torch.randn(kernels, states))
        sign_S = 1 - 2 * (torch.arange(states) % 2)
        self.beta = nn.Parameter(sign_S + 0.02 * torch.randn(kernels, states))
        self.gamma = nn.Parameter(torch.randn(kernels, states))
        self.omega = nn.Parameter(torch.randn(dim))
        for parameter in self.parameters():
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor, state: EMAState | None = None) -> tuple[Tensor, EMAState | None]:
        """Mix x (B, N, D), going on from ``state``."""
        if state is not None and not self.causal:
            raise ValueError("EMA: it reads both directions, so there is no state to go on from; leave it out")
        # half precision would round a decay near one to one: the averages are float32 at least
        x_BND = x.to(torch.promote_types(x.dtype, torch.float32))
        y_BND = self.omega * x_BND
        if self.causal:
            read_BND, end_BDS = self._average(x_BND, None if state is None else state.h_BDS)
            return (y_BND + read_BND).to(x.dtype), EMAState(end_BDS)
        before_BND, after_BND = self._average(torch.cat([x_BND, x_BND.flip(1)], -1), None)[0].chunk(2, -1)
        own_D = self.kernel(1)[len(self.omega) :, 0]
        return (y_BND + before_BND + after_BND.flip(1) - own_D * x_BND).to(x.dtype), None

    def kernel(self, length: int) -> Tensor:
        """(kernels, length) what each channel answers to a single one, without omega x; the first tap acts at once.

        With both directions, the second half of the rows looks ahead and its first tap is left out of y.
        """
        q_DS, in_DS, out_DS = self._system()
        return torch.einsum("ds,dst->dt", in_DS * out_DS, _powers(q_DS, length))

    def _system(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, p beta and S^{-1/2} gamma, each (kernels, S), float32 at least."""
        exact = torch.promote_types(self.delta.dtype, torch.float32)
        delta, alpha, beta, gamma = (w.to(exact) for w in (self.delta, self.alpha, self.beta, self.gamma))
        p_DS = delta.sigmoid()
        return 1 - p_DS * alpha.sigmoid(), p_DS * beta, gamma * gamma.shape[1] ** -0.5

    def _average(self, x_BND: Tensor, h_BDS: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is read after each token, and the averages after the last one."""
        q_DS, in_DS, out_DS = self._system()
        B, N, D = x_BND.shape
        start_BDS = x_BND.new_zeros(B, *q_DS.shape) if h_BDS is None else h_BDS
        if N == 1:
            end_BDS = q_DS * start_BDS + in_DS * x_BND[:, 0, :, None]
            return (out_DS * end_BDS).sum(-1)[:, None], end_BDS
        T = min(BLOCK, N)
        K = -(-N // T)
        powers_DST = _powers(q_DS, T + 1)
        x_DnT = F.pad(x_BND, (0, 0, 0, K * T - N)).permute(2, 0, 1).contiguous().view(D, B * K, T)
        fill_DST = (in_DS[..., None] * powers_DST[..., :T]).flip(-1)
        starts_BKDS = start_BDS[:, None]
        if K > 1:
            ends_BKDS = (x_DnT @ fill_DST.mT).view(D, B, K, -1).permute(1, 2, 0, 3)
            gains_BKDS = powers_DST[..., T].expand(B, K - 1, *q_DS.shape)
            starts_BKDS = torch.cat([starts_BKDS, linear_scan(gains_BKDS, ends_BKDS[:, :-1], start_BDS)], 1)
        within_DTT = _toeplitz((out_DS[..., None] * fill_DST.flip(-1)).sum(1))
        across_DST = out_DS[..., None] * powers_DST[..., 1:]
        past_DnS = starts_BKDS.permute(2, 0, 1, 3).contiguous().view(D, B * K, -1)
        y_DnT = torch.baddbmm(x_DnT @ within_DTT.mT, past_DnS, across_DST)
        y_BND = y_DnT.view(D, B, K * T).permute(1, 2, 0)[:, :N]
        last = N - (K - 1) * T
        driven_BDS = torch.einsum("dst,btd->bds", fill_DST[..., T - last :], x_BND[:, N - last :])
        return y_BND, powers_DST[..., last] * starts_BKDS[:, -1] + driven_BDS


def _powers(q_DS: Tensor, length: int) -> Tensor:
    """(D, S, length) 1, q, q^2, ..."""
    if length < 1:
        raise ValueError(f"EMA: length must be at least 1, got {length}")
    return q_DS[..., None] ** torch.arange(length, device=q_DS.device)


def _toeplitz(kernel_DT: Tensor) -> Tensor:
    """(D, T, T) lower triangular, k_{t-s} in row t and column s."""
    T = kernel_DT.shape[1]
    return F.pad(kernel_DT, (T - 1, 0)).unfold(-1, T, 1).flip(-1)
