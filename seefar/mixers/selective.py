"""Mamba: a state space whose step size, input and readout depend on the token, so that it can choose what to keep.

B batch, N tokens, D channels, E inner channels, S states of a channel, K taps of the convolution, R rank of the step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.selective_scan import selective_scan


class MambaState(NamedTuple):
    """The last K - 1 inputs of the convolution, and the state of the scan; the same size after any number of tokens."""

    conv_BKE: Tensor
    h_BES: Tensor


class Mamba(Mixer):
    """Each inner channel keeps S decaying traces of its past and decides, token by token, how fast they fade.

    u, z = W_in x;    u = silu(conv(u));    dt, B, C = W_x u;    dt = softplus(W_dt dt + b_dt)
    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = W_out ((C_t . h_t + D u_t) * silu(z_t)),    A = -exp(A_log)

    Begins as published: A = -(1 .. S) in every channel, D = 1, and steps softplus(b_dt) spread evenly in log over
    [1e-3, 1e-1]. Weights are named and shaped as in transformers' ``MambaMixer``, whose state dict loads as it is;
    ``from_hf`` makes a mixer of the right size around them.

    Args:
        d_state: S, traces per inner channel.
        expand: inner channels E over ``dim``, rounded to whole channels.
        d_conv: K, taps of the causal convolution before the scan.
        dt_rank: R, None for ceil(dim / 16).
        bias: of the projections in and out.
        conv_bias: of the convolution.

    Reference: Gu and Dao, arXiv 2312.00752.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 16,
        expand: float = 2,
        d_conv: int = 4,
        dt_rank: int | None = None,
        bias: bool = False,
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("d_state", d_state), ("d_conv", d_conv), ("round(expand * dim)", round(expand * dim))):
            if value < 1:
                raise ValueError(f"Mamba: {name} must be at least 1, got {value}")
        rank = math.ceil(dim / 16) if dt_rank is None else dt_rank
        if rank < 1:
            raise ValueError(f"Mamba: dt_rank must be at least 1, got {rank}")
        inner = round(expand * dim)
        self.sizes = [rank, d_state, d_state]
        self.in_proj = nn.Linear(dim, 2 * inner, bias=bias)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, bias=conv_bias)
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=bias)
        with torch.no_grad():
            self.dt_proj.weight.uniform_(-(rank**-0.5), rank**-0.5)
            dt = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    @classmethod
    def from_hf(cls, mixer: nn.Module) -> Mamba:
        """A copy of a ``MambaMixer`` of transformers, its weights, sizes, type and device.

        Raises:
            ValueError: it isn't a MambaMixer, or its activation isn't silu.
        """
        weights = mixer.state_dict()
        missing = {"in_proj.weight", "conv1d.weight", "x_proj.weight", "dt_proj.weight", "A_log", "D"} - set(weights)
        if missing:
            raise ValueError(f"Mamba.from_hf: needs a MambaMixer, but {type(mixer).__name__} has no {sorted(missing)}")
        if (activation := getattr(mixer, "activation", "silu")) not in ("silu", "swish"):
            raise ValueError(f"Mamba.from_hf: the activation must be silu, this mixer has {activation!r}")
        two_inner, dim = weights["in_proj.weight"].shape
        ours = cls(
            dim,
            d_state=weights["A_log"].shape[1],
            expand=two_inner / 2 / dim,
            d_conv=weights["conv1d.weight"].shape[2],
            dt_rank=weights["dt_proj.weight"].shape[1],
            bias="in_proj.bias" in weights,
            conv_bias="conv1d.bias" in weights,
        )
        ours.to(weights["A_log"].device, weights["A_log"].dtype).load_state_dict(weights)
        return ours

    def forward(self, x: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState]:
        """Mix x (B, N, D), going on from ``state``."""
        N = x.shape[1]
        u_BNE, z_BNE = self.in_proj(x).chunk(2, -1)
        before = self.conv1d.kernel_size[0] - 1
        past_BKE = u_BNE.new_zeros(len(x), before, u_BNE.shape[-1]) if state is None else state.conv_BKE
        u_BNE = torch.cat([past_BKE, u_BNE], 1)
        # a copy: a view would keep the whole chunk in memory
        conv_BKE = u_BNE[:, N:].clone()
        u_BNE = F.silu(self.conv1d(u_BNE.transpose(1, 2))).transpose(1, 2)
        dt_BNR, B_BNS, C_BNS = self.x_proj(u_BNE).split(self.sizes, -1)
        # half precision would round decays near one to one: the scan and its state are float32 at least
        exact = torch.promote_types(x.dtype, torch.float32)
        u_BNE, B_BNS, C_BNS, z_BNE, D_E = (part.to(exact) for part in (u_BNE, B_BNS, C_BNS, z_BNE, self.D))
        dt_BNE = F.softplus(self.dt_proj(dt_BNR).to(exact))
        A_ES = -torch.exp(self.A_log.to(exact))
        h0 = None if state is None else state.h_BES
        y_BNE, h_BES = selective_scan(u_BNE, dt_BNE, A_ES, B_BNS, C_BNS, D=D_E, z=z_BNE, h0=h0)
        return self.out_proj(y_BNE.to(x.dtype)), MambaState(conv_BKE, h_BES)
