"""Associative memory: one matrix a stream, which hands back for a key the value that was written to it last.

B batch, N tokens, D channels (width of a value), d width of a key before its features, F features of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer

EPS = 1e-5
"""Added to what reads are divided by."""


class AssociativeState(NamedTuple):
    """The matrix of what was written, and the sum of the keys that it was written to; float32 at least."""

    A_BFD: Tensor
    z_BF: Tensor


def dpfp(x: Tensor, nu: int = 3) -> Tensor:
    """Features (.., 2 nu d) of keys (.., d): non-negative, and zero in most places, so that keys overlap little.

    With r = [relu(x), relu(-x)] of 2 d channels, feature (j, i) is r_i r_{i-j} for j = 1 ... nu, indices modulo 2 d.

    Args:
        x: the keys.
        nu: how many shifts.

    Raises:
        ValueError: nu outside of 1 ... 2 d - 1, where a shift would come round to itself.

    Example:
        >>> dpfp(torch.tensor([2.0, -3.0]), 1).tolist()
        [6.0, 0.0, 0.0, 0.0]

    Reference: Schlag et al., Linear Transformers Are Secretly Fast Weight Programmers, arXiv 2102.11174.
    """
    if not 1 <= nu < 2 * x.shape[-1]:
        raise ValueError(f"dpfp: keys of {x.shape[-1]} channels have 1 to {2 * x.shape[-1] - 1} shifts, got nu={nu}")
    r = torch.cat([x.relu(), (-x).relu()], -1)
    return torch.cat([r * r.roll(j, -1) for j in range(1, nu + 1)], -1)


@dataclass(frozen=True)
class WriteRule:
    """How an associative memory is written and read, given features of keys and queries.

    A read of q is A^T q / (z . q + eps), a mean of values weighted by how well their keys meet q. A write of k, v with
    strength beta first reads what k held, then

        A <- A + beta k (v - held)^T,    z <- z + gamma k,    gamma = clip(1 - (z . k + eps) / (k . k + eps), 0, 1)

    so that a value takes the place of the one before it (the delta rule), and z counts every key once: gamma is the
    share of k that is new, no gradient goes through it and beta has no part in it. Tokens that are written in one call
    all see the memory as it was before the call.

    Args:
        replace: False adds v without taking away what the key held: a Hebbian memory, that of linear attention.
        correct: False adds all of every key to z, known or not (gamma = 1).
        normalize: False divides nothing and keeps z at zero; with ``replace`` it is then the plain delta rule of
            arXiv 2102.11174, stable for keys whose features have a length of at most one.

    Reference: Rodkin et al., Associative Recurrent Memory Transformer, arXiv 2407.04841; eps as in its code.
    """

    replace: bool = True
    correct: bool = True
    normalize: bool = True

    def read(self, state: AssociativeState, q_BNF: Tensor) -> Tensor:
        """The values (B, N, D) that queries find, of the dtype of the state."""
        _check_batch(state, q_BNF)
        q_BNF = q_BNF.to(state.A_BFD.dtype)
        found_BND = q_BNF @ state.A_BFD
        return found_BND / (q_BNF @ state.z_BF[..., None] + EPS) if self.normalize else found_BND

    def write(self, state: AssociativeState | None, k_BNF: Tensor, v_BND: Tensor, beta_BN: Tensor) -> AssociativeState:
        """The state after N values were written to N keys at once; None for an empty memory."""
        exact = torch.promote_types(k_BNF.dtype, torch.float32)
        k_BNF, v_BND, beta_BN = k_BNF.to(exact), v_BND.to(exact), beta_BN.to(exact)
        B, N, F = k_BNF.shape
        if state is None:
            A_BFD, z_BF, gamma_BN = k_BNF.new_zeros(B, F, v_BND.shape[-1]), k_BNF.new_zeros(B, F), k_BNF.new_ones(B, N)
        else:
            _check_batch(state, k_BNF)
            A_BFD, z_BF = state
            if self.replace:
                v_BND = v_BND - self.read(state, k_BNF)
            gamma_BN = self._new(z_BF, k_BNF)
        A_BFD = A_BFD + (beta_BN[..., None] * k_BNF).mT @ v_BND
        return AssociativeState(A_BFD, z_BF + (gamma_BN[..., None] * k_BNF).sum(1) if self.normalize else z_BF)

    @torch.no_grad()
    def _new(self, z_BF: Tensor, k_BNF: Tensor) -> Tensor:
        if not self.correct:
            return torch.ones_like(k_BNF[..., 0])
        known_BN = (k_BNF @ z_BF[..., None])[..., 0] + EPS
        return (1 - known_BN / (k_BNF.square().sum(-1) + EPS)).clamp(0, 1)


class AssociativeMemory(Mixer):
    """Writes every token under a key and looks every token up: facts stay until their own key is written again.

    k = phi(W_k x), q = phi(W_q x), v = W_v x, beta = sigmoid(w_b . x + b), with phi = DPFP. As a mixer a token is
    written and then read. ``read`` and ``write`` alone are for tokens that do only one of them, as around the layers
    of ``LayerMemory``. W_v starts at zero: at first nothing is stored and every read is zero.

    The state holds 2 nu width (dim + 1) numbers a stream.

    Args:
        width: of keys and queries before their features.
        nu: shifts of DPFP.
        rule: how the memory is written and read.

    Reference: Rodkin et al., arXiv 2407.04841. Differs: one head; the later releases of its code scale features to
    length one, this does not.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, width: int = 64, *, nu: int = 3, rule: WriteRule | None = None) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"AssociativeMemory: keys need a width of at least 1, got {width=}")
        if not 1 <= nu < 2 * width:
            raise ValueError(f"AssociativeMemory: nu must lie in 1 to {2 * width - 1} for {width=}, got {nu=}")
        self.nu, self.rule = nu, rule or WriteRule()
        self.features = 2 * nu * width
        self.q_proj = nn.Linear(dim, width, bias=False)
        self.k_proj = nn.Linear(dim, width, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.b_proj = nn.Linear(dim, 1)
        nn.init.zeros_(self.v_proj.weight)

    def read(self, x: Tensor, state: AssociativeState | None) -> Tensor:
        """What each token of x (B, N, D) finds; zero in an empty memory."""
        if state is None:
            return torch.zeros_like(x)
        return self.rule.read(state, dpfp(self.q_proj(x), self.nu)).to(x.dtype)

    def write(self, x: Tensor, state: AssociativeState | None) -> AssociativeState:
        """The state after all tokens of x (B, N, D) were written at once."""
        strength_BN = self.b_proj(x)[..., 0].sigmoid()
        return self.rule.write(state, dpfp(self.k_proj(x), self.nu), self.v_proj(x), strength_BN)

    def forward(self, x: Tensor, state: AssociativeState | None = None) -> tuple[Tensor, AssociativeState | None]:
        """Write and read x (B, N, D) token by token, going on from ``state``."""
        rows = []
        for token in x.split(1, 1):
            state = self.write(token, state)
            rows.append(self.read(token, state))
        return torch.cat(rows, 1), state


def _check_batch(state: AssociativeState, x: Tensor) -> None:
    if len(state.z_BF) != len(x):
        raise ValueError(
            f"AssociativeMemory: the state is of {len(state.z_BF)} streams, got {len(x)}; begin others with state=None"
        )
