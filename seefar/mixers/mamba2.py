"""Mamba-2: a selective state space that fades a whole head at once, so that matrix products do its work.

B batch, N tokens, D channels, E = H P inner channels, H heads, P channels of a head, G groups, S states of a channel,
K taps of the convolution, F = E + 2 G S channels that it runs over.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.short_conv import short_conv
from seefar.ops.ssd import ssd


class Mamba2State(NamedTuple):
    """The last K - 1 inputs of the convolution, and the state of the scan; the same size after any number of tokens."""

    conv_BKF: Tensor
    h_BHPS: Tensor


class GatedRMSNorm(nn.Module):
    """``w y silu(z) / rms(y silu(z))``: gate first, then norm, the mean square taken over each group of channels."""

    def __init__(self, width: int, *, groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Norm y (.., width), gated by z (.., width)."""
        gated = (y * F.silu(z)).unflatten(-1, (self.groups, -1))
        return F.rms_norm(gated, gated.shape[-1:], eps=self.eps).flatten(-2) * self.weight


class Mamba2(Mixer):
    """Each head keeps S traces of each of its channels and decides, token by token, how fast all of them fade.

    z, u, dt = W_in x;    u, B, C = silu(conv(u));    dt = softplus(dt + b_dt)
    h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t^T,    y_t = W_out norm((h_t C_t + D u_t) * silu(z_t)),    A = -exp(A_log)

    Begins as published: A even over [-16, -1], D = 1, and steps softplus(b_dt) spread evenly in log over [1e-3, 1e-1].
    Weights are named and shaped as in transformers' ``Mamba2Mixer``, whose state dict loads as it is; ``from_hf`` makes
    a mixer of the right size around them.

    Args:
        d_state: S, traces of a channel.
        expand: inner channels E over ``dim``.
        head_dim: P; it divides E.
        groups: G, of heads that share B and C.
        d_conv: K, taps of the causal convolution before the scan.
        bias: of the projections in and out.
        conv_bias: of the convolution.

    Attributes:
        dt_limit: every step is held within it; nothing is, unless ``from_hf`` found other limits.

    Reference: Dao and Gu, arXiv 2405.21060. Differs: all chunks go through ``ops.ssd``, a chunk of one token included,
    so the limits of a step hold there too, which transformers' own cached step leaves out.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 128,
        expand: float = 2,
        head_dim: int = 64,
        groups: int = 1,
        d_conv: int = 4,
        bias: bool = False,
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("d_state", d_state), ("head_dim", head_dim), ("groups", groups), ("d_conv", d_conv)):
            if value < 1:
                raise ValueError(f"Mamba2: {name} must be at least 1, got {value}")
        inner = round(expand * dim)
        heads = inner // head_dim
        if heads < 1 or inner % head_dim:
            raise ValueError(f"Mamba2: head_dim must divide round(expand * dim) = {inner}, got {head_dim}")
        if heads % groups:
            raise ValueError(f"Mamba2: groups must divide the {heads} heads, got {groups}")
        self.d_state, self.head_dim, self.groups, self.dt_limit = d_state, head_dim, groups, (0.0, math.inf)
        wide = inner + 2 * groups * d_state
        self.in_proj = nn.Linear(dim, inner + wide + heads, bias=bias)
        self.conv1d = nn.Conv1d(wide, wide, d_conv, groups=wide, bias=conv_bias)
        dt = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = GatedRMSNorm(inner, groups=groups)
        self.out_proj = nn.Linear(inner, dim, bias=bias)
        for parameter in (self.A_log, self.D, self.dt_bias):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    @classmethod
    def from_hf(cls, mixer: nn.Module) -> Mamba2:
        """A copy of a ``Mamba2Mixer`` of transformers, its weights, sizes, limits of the step, type and device.

        Raises:
            ValueError: it isn't a Mamba2Mixer, or its activation isn't silu.
        """
        weights = mixer.state_dict()
        missing = {"in_proj.weight", "conv1d.weight", "dt_bias", "A_log", "D", "norm.weight"} - set(weights)
        if missing:
            raise ValueError(f"Mamba2.from_hf: needs a Mamba2Mixer, {type(mixer).__name__} has no {sorted(missing)}")
        if (activation := getattr(mixer, "activation", "silu")) not in ("silu", "swish"):
            raise ValueError(f"Mamba2.from_hf: the activation must be silu, this mixer has {activation!r}")
        inner, dim = len(weights["norm.weight"]), weights["in_proj.weight"].shape[1]
        groups = int(mixer.n_groups)  # type: ignore[arg-type]
        ours = cls(
            dim,
            d_state=(len(weights["conv1d.weight"]) - inner) // 2 // groups,
            expand=inner / dim,
            head_dim=inner // len(weights["A_log"]),
            groups=groups,
            d_conv=weights["conv1d.weight"].shape[2],
            bias="in_proj.bias" in weights,
            conv_bias="conv1d.bias" in weights,
        )
        ours.to(weights["A_log"].device, weights["A_log"].dtype).load_state_dict(weights)
        low, high = mixer.time_step_limit  # type: ignore[misc]
        ours.dt_limit, ours.norm.eps = (float(low), float(high)), float(mixer.layer_norm_epsilon)  # type: ignore[arg-type]
        return ours

    def forward(self, x: Tensor, state: Mamba2State | None = None) -> tuple[Tensor, Mamba2State]:
        """Mix x (B, N, D), going on from ``state``."""
        heads, wide = len(self.A_log), self.conv1d.in_channels
        inner = heads * self.head_dim
        z_BNE, u_BNF, dt_BNH = self.in_proj(x).split([inner, wide, heads], -1)
        past_BKF = None if state is None else state.conv_BKF
        u_BNF, conv_BKF = short_conv(u_BNF, self.conv1d.weight[:, 0], self.conv1d.bias, past_BKF, silu=True)
        # half precision would round decays near one to one: the scan and its state are float32 at least
        exact = torch.promote_types(x.dtype, torch.float32)
        u_BNF, z_BNE, dt_BNH, bias_H, rate_H, D_H = (
            part.to(exact) for part in (u_BNF, z_BNE, dt_BNH, self.dt_bias, self.A_log, self.D)
        )
        dt_BNH = F.softplus(dt_BNH + bias_H).clamp(*self.dt_limit)
        shared = self.groups * self.d_state
        u_BNE, B_BNGS, C_BNGS = u_BNF.split([inner, shared, shared], -1)
        u_BNHP = u_BNE.unflatten(-1, (heads, self.head_dim))
        B_BNGS, C_BNGS = (part.unflatten(-1, (self.groups, self.d_state)) for part in (B_BNGS, C_BNGS))
        h0 = None if state is None else state.h_BHPS
        y_BNHP, h_BHPS = ssd(u_BNHP, dt_BNH, -torch.exp(rate_H), B_BNGS, C_BNGS, D_H, h0)
        y_BNE = self.norm(y_BNHP.flatten(-2), z_BNE)
        return self.out_proj(y_BNE.to(x.dtype)), Mamba2State(conv_BKF, h_BHPS)
