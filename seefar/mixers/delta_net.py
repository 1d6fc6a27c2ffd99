"""Gated DeltaNet: linear attention that forgets as a whole and overwrites key by key.

B batch, N tokens, D channels, G heads of queries and keys, H heads of values, P width of a key, V width of a value,
E = H V inner channels, K taps of the convolution, F = 2 G P + E channels that it runs over.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.delta_rule import delta_rule
from seefar.ops.short_conv import short_conv


class GatedDeltaState(NamedTuple):
    """The last K - 1 inputs of the convolution, and a matrix a head; the same size after any number of tokens."""

    conv_BKF: Tensor
    S_BHPV: Tensor


class GatedDeltaNet(Mixer):
    """Each head keeps one matrix: all of it fades at a pace the token sets, then the token corrects it at its own key.

    q, k, v = silu(conv(W_in x));    q, k <- q / |q|, k / |k|;    beta = sigmoid(b);    g = exp(-A softplus(a + b_dt))
    S_t = g_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,    o_t = q_t S_t / sqrt(P)
    y_t = W_out (rms_norm(o_t) * silu(z_t)),    A = exp(A_log)

    with z, a and b read from x as well. A head of queries and keys serves H / G heads of values. Begins with the decays
    of Mamba-2: steps softplus(b_dt) spread evenly in log over [1e-3, 1e-1], rates even over [0.01, 16].

    Weights are named and shaped as in transformers' ``Qwen3NextGatedDeltaNet``, whose state dict loads as it is;
    ``from_hf`` makes a mixer of the right size around them.

    Args:
        heads: G, of queries and keys.
        value_heads: H, a multiple of G; G when left out.
        key_width: P.
        value_width: V.
        d_conv: K, taps of the causal convolution over queries, keys and values.

    Reference: Yang et al., Gated Delta Networks, arXiv 2412.06464. Differs: heads of values may share keys, as in
    Qwen3-Next; matrix, decay and norm are float32 at least in half precision.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        value_heads: int | None = None,
        key_width: int = 128,
        value_width: int = 128,
        d_conv: int = 4,
    ) -> None:
        super().__init__()
        sizes = {"heads": heads, "key_width": key_width, "value_width": value_width, "d_conv": d_conv}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"GatedDeltaNet: {name} must be at least 1, got {value}")
        value_heads = heads if value_heads is None else value_heads
        if value_heads < 1 or value_heads % heads:
            raise ValueError(f"GatedDeltaNet: value_heads must be a multiple of the {heads} heads, got {value_heads}")
        self.heads, self.value_heads, self.key_width, self.value_width = heads, value_heads, key_width, value_width
        inner = value_heads * value_width
        wide = 2 * heads * key_width + inner
        self.in_proj_qkvz = nn.Linear(dim, wide + inner, bias=False)
        self.in_proj_ba = nn.Linear(dim, 2 * value_heads, bias=False)
        self.conv1d = nn.Conv1d(wide, wide, d_conv, groups=wide, bias=False)
        dt = torch.empty(value_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.A_log = nn.Parameter(torch.empty(value_heads).uniform_(0.01, 16).log())
        self.norm = nn.RMSNorm(value_width, eps=1e-6)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        for parameter in (self.A_log, self.dt_bias):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    @classmethod
    def from_hf(cls, mixer: nn.Module) -> GatedDeltaNet:
        """A copy of a ``Qwen3NextGatedDeltaNet`` of transformers, its weights, sizes, type and device.

        Raises:
            ValueError: it isn't a Qwen3NextGatedDeltaNet, or its activation isn't silu.
        """
        weights = mixer.state_dict()
        missing = {"in_proj_qkvz.weight", "in_proj_ba.weight", "conv1d.weight", "A_log", "norm.weight"} - set(weights)
        if missing:
            kind = type(mixer).__name__
            raise ValueError(f"GatedDeltaNet.from_hf: needs a Qwen3NextGatedDeltaNet, {kind} has no {sorted(missing)}")
        if (activation := getattr(mixer, "activation", "silu")) not in ("silu", "swish"):
            raise ValueError(f"GatedDeltaNet.from_hf: the activation must be silu, this mixer has {activation!r}")
        ours = cls(
            weights["in_proj_ba.weight"].shape[1],
            int(mixer.num_k_heads),  # type: ignore[arg-type]
            value_heads=len(weights["A_log"]),
            key_width=int(mixer.head_k_dim),  # type: ignore[arg-type]
            value_width=len(weights["norm.weight"]),
            d_conv=weights["conv1d.weight"].shape[2],
        )
        ours.to(weights["A_log"].device, weights["A_log"].dtype).load_state_dict(weights)
        ours.norm.eps = float(mixer.layer_norm_epsilon)  # type: ignore[arg-type]
        return ours

    def forward(self, x: Tensor, state: GatedDeltaState | None = None) -> tuple[Tensor, GatedDeltaState]:
        """Mix x (B, N, D), going on from ``state``."""
        G, H, P, V = self.heads, self.value_heads, self.key_width, self.value_width
        each = H // G
        # the projections hold one head of keys after the other, each with all that belongs to it
        *qkv, z_BNGe = self.in_proj_qkvz(x).unflatten(-1, (G, -1)).split([P, P, each * V, each * V], -1)
        b_BNGe, a_BNGe = self.in_proj_ba(x).unflatten(-1, (G, -1)).split([each, each], -1)
        past_BKF = None if state is None else state.conv_BKF
        u_BNF = torch.cat([part.flatten(2) for part in qkv], -1)
        u_BNF, conv_BKF = short_conv(u_BNF, self.conv1d.weight[:, 0], None, past_BKF, silu=True)

        # half precision would round decays near one to one: the rule and its state are float32 at least
        exact = torch.promote_types(x.dtype, torch.float32)
        q_BNF, k_BNF, v_BNF = u_BNF.to(exact).split([G * P, G * P, H * V], -1)
        q_BNHP, k_BNHP = (_unit(part.unflatten(-1, (G, P))).repeat_interleave(each, 2) for part in (q_BNF, k_BNF))
        v_BNHV, z_BNHV = (part.unflatten(-1, (H, V)) for part in (v_BNF, z_BNGe.flatten(2).to(exact)))
        beta_BNH, a_BNH = b_BNGe.flatten(2).to(exact).sigmoid(), a_BNGe.flatten(2).to(exact)
        decay_BNH = torch.exp(-self.A_log.to(exact).exp() * F.softplus(a_BNH + self.dt_bias))
        q_BHNP, k_BHNP, v_BHNV, beta_BHN, decay_BHN = (
            part.transpose(1, 2) for part in (q_BNHP * P**-0.5, k_BNHP, v_BNHV, beta_BNH, decay_BNH)
        )
        S_BHPV = None if state is None else state.S_BHPV
        o_BHNV, S_BHPV = delta_rule(q_BHNP, k_BHNP, v_BHNV, beta_BHN, S_BHPV, decay=decay_BHN)
        o_BNHV = F.rms_norm(o_BHNV.transpose(1, 2), (V,), self.norm.weight.to(exact), self.norm.eps)
        y_BNE = (o_BNHV * F.silu(z_BNHV)).flatten(2)
        return self.out_proj(y_BNE.to(x.dtype)), GatedDeltaState(conv_BKF, S_BHPV)


def _unit(x: Tensor) -> Tensor:
    """Vectors of length one; those that are nearly zero stay short."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
