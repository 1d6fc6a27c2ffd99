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
from seefar.ops.short_conv import short_conv


class MambaState(NamedTuple):
    """The last K - 1 inputs of the convolution, and the state of the scan; the same size after any number of tokens."""

    conv_BKE: Tensor
    h_BES: Tensor


class Selection(NamedTuple):
    """What stands between the two projections of Mamba: all that one direction of a walk needs of its own."""

    conv1d: nn.Conv1d
    x_proj: nn.Linear
    dt_proj: nn.Linear
    A_log: nn.Parameter
    D: nn.Parameter


def selection(
    who: str, dim: int, *, d_state: int, expand: float, d_conv: int, dt_rank: int | None, conv_bias: bool
) -> Selection:
    """Fresh weights, begun as ``Mamba`` tells; ``who`` asks, for the error of a size below one."""
    for name, value in (("d_state", d_state), ("d_conv", d_conv), ("round(expand * dim)", round(expand * dim))):
        if value < 1:
            raise ValueError(f"{who}: {name} must be at least 1, got {value}")
    rank = math.ceil(dim / 16) if dt_rank is None else dt_rank
    if rank < 1:
        raise ValueError(f"{who}: dt_rank must be at least 1, got {rank}")
    inner = round(expand * dim)
    weights = Selection(
        nn.Conv1d(inner, inner, d_conv, groups=inner, bias=conv_bias),
        nn.Linear(inner, rank + 2 * d_state, bias=False),
        nn.Linear(rank, inner),
        nn.Parameter(torch.arange(1, d_state + 1, dtype=torch.float32).log().repeat(inner, 1)),
        nn.Parameter(torch.ones(inner)),
    )
    with torch.no_grad():
        weights.dt_proj.weight.uniform_(-(rank**-0.5), rank**-0.5)
        dt = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        weights.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
    for parameter in (weights.A_log, weights.D):
        parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return weights


class Drive(NamedTuple):
    """What drives the scan, token by token: its inputs, their steps, how they write and how they read."""

    u_BNE: Tensor
    dt_BNE: Tensor
    B_BNS: Tensor
    C_BNS: Tensor


def drive(weights: Selection, u_BNE: Tensor, state: MambaState | None = None) -> tuple[Drive, Tensor]:
    """Convolve u and let it choose the rest: all float32 at least, and what the convolution keeps."""
    S, past_BKE = weights.A_log.shape[1], None if state is None else state.conv_BKE
    u_BNE, conv_BKE = short_conv(u_BNE, weights.conv1d.weight[:, 0], weights.conv1d.bias, past_BKE, silu=True)
    dt_BNR, B_BNS, C_BNS = weights.x_proj(u_BNE).split([weights.dt_proj.in_features, S, S], -1)
    # half precision would round decays near one to one: the scan and its state are float32 at least
    exact = torch.promote_types(u_BNE.dtype, torch.float32)
    dt_BNE = F.softplus(weights.dt_proj(dt_BNR).to(exact))
    return Drive(u_BNE.to(exact), dt_BNE, B_BNS.to(exact), C_BNS.to(exact)), conv_BKE


def scan(weights: Selection, driven: Drive, z_BNE: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scan what drives it and gate it by z: (B, N, E), float32 at least, and the last state (B, E, S)."""
    exact = driven.u_BNE.dtype
    A_ES, D_E = -torch.exp(weights.A_log.to(exact)), weights.D.to(exact)
    u, dt, B, C = driven
    return selective_scan(u, dt, A_ES, B, C, D=D_E, z=z_BNE.to(exact), h0=h0)


def select(
    weights: Selection, u_BNE: Tensor, z_BNE: Tensor, state: MambaState | None = None
) -> tuple[Tensor, MambaState]:
    """Convolve u, scan it and gate it by z: (B, N, E), float32 at least, and the state after the last token."""
    driven, conv_BKE = drive(weights, u_BNE, state)
    y_BNE, h_BES = scan(weights, driven, z_BNE, None if state is None else state.h_BES)
    return y_BNE, MambaState(conv_BKE, h_BES)


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
        weights = selection(
            "Mamba", dim, d_state=d_state, expand=expand, d_conv=d_conv, dt_rank=dt_rank, conv_bias=conv_bias
        )
        inner = len(weights.D)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=bias)
        self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D = weights
        self.out_proj = nn.Linear(inner, dim, bias=bias)

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

    @property
    def selection(self) -> Selection:
        """The weights between the two projections."""
        return Selection(self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)

    def forward(self, x: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState]:
        """Mix x (B, N, D), going on from ``state``."""
        u_BNE, z_BNE = self.in_proj(x).chunk(2, -1)
        y_BNE, state = select(self.selection, u_BNE, z_BNE, state)
        return self.out_proj(y_BNE.to(x.dtype)), state
