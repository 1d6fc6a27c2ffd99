"""Attention over quantised keys: keys that are one code are summed, so a token meets S codes instead of all its past.

B batch, N tokens, Z width of queries and keys, E width of values, S codes, T tokens of a block, K blocks, n queries of
a block, m keys beside them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Quantizer(Protocol):
    """What ``VQAttention`` asks of a quantiser, such as ``embed.VectorQuantizer``."""

    code: Tensor

    def __call__(self, k: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The codes in place of k (.., Z), and which they are (..)."""


class VQState(NamedTuple):
    """Sums over all blocks that are two or more behind, by code; the tokens since then; how many have passed.

    There are always 2 T - 1 slots: the block before and the one that has begun, at the end of them. sum_BSE: of the
    values, with counts_BS as many of them.
    """

    sum_BSE: Tensor
    counts_BS: Tensor
    k_BMZ: Tensor
    v_BME: Tensor
    index_BM: Tensor
    seen: int


class VQAttention(nn.Module):
    """Softmax attention of one head whose keys are codes: exact, and linear in the length.

    k^_m = C_{z_m},    o_n = sum_m exp(q_n . k^_m / sqrt(Z) + b_{n - m}) v_m over its sum

    Tokens of the own block and of the one before (and of the next, if not causal) are met one by one, with the bias of
    places b. All others are met by code: exp(q_n . C_s / sqrt(Z)) times their count and the mean of their values. It
    equals attention to every quantised key. The gradient reaches keys through those that are met one by one and the
    commitment of the quantiser; values get all of theirs.

    An attention for ``GatedMixer``. It streams in eval mode; in training the codes move with each call.

    Args:
        quantizer: such as ``embed.VectorQuantizer(codes, Z)``.
        block: T; blocks count from the first token, the last may be shorter.
        causal: no token sees a later one.
        bias: of places, ``DistanceBias(2 T)`` or ``TurningBias(Z)``; None for none.

    Raises:
        ValueError: a block without a token; in a call a state where a sequence is mixed whole.

    Reference: Liu et al., LongVQ, arXiv 2404.11163; Lingle, Transformer-VQ, arXiv 2309.16354.
    """

    bounded = True

    def __init__(
        self, quantizer: Quantizer, *, block: int = 512, causal: bool = True, bias: nn.Module | None = None
    ) -> None:
        super().__init__()
        if block < 1:
            raise ValueError(f"VQAttention: a block holds at least one token, got {block=}")
        self.quantizer, self.block, self.causal, self.bias = quantizer, block, causal, bias

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, state: VQState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, VQState | None]:
        """(B, N, E) for q, k (B, N, Z) and v (B, N, E), going on from ``state``; none comes back if not causal.

        Args:
            q: queries.
            k: keys, which are quantised here.
            v: values.
            state: of the tokens before.
            mask: (B, N) bool, False on padding, which no token sees; such a batch is mixed whole, without a state.
        """
        if state is not None and (not self.causal or mask is not None):
            why = "it has a mask" if self.causal else "it isn't causal"
            raise ValueError(f"VQAttention: {why}, so a sequence is mixed whole; leave out the state")
        T, N = self.block, q.shape[1]
        coded_BNZ, index_BN = self.quantizer(k, mask)
        state = self._empty(k, v) if state is None else state
        first = state.seen % T
        # one block of keys stands before the first block of queries, empty at the beginning of a sequence
        held = (T if state.seen >= T else 0) + first
        short = T - held + first  # slots to fill up in front
        tail = -(first + N) % T
        after = tail if self.causal else tail + T

        def laid(past: Tensor, new: Tensor) -> Tensor:
            row = torch.cat([past[:, past.shape[1] - held :], new], 1)
            return _padded(row, short, after).unflatten(1, (-1, T))

        real_BN = torch.ones_like(index_BN, dtype=torch.bool) if mask is None else mask
        kept = torch.ones_like(state.index_BM, dtype=torch.bool)
        k_BKTZ, v_BKTE = laid(state.k_BMZ, coded_BNZ), laid(state.v_BME, v)
        index_BKT, real_BKT = laid(state.index_BM, index_BN), laid(kept, real_BN)
        sums, counts = self._by_code(v_BKTE, index_BKT, real_BKT, state)
        single = first + N <= T and self.causal
        q_BKnZ = q[:, None] if single else _padded(q, first, tail).unflatten(1, (-1, T))
        o = self._attend(q_BKnZ, first if single else 0, k_BKTZ, v_BKTE, real_BKT, (sums, counts)).flatten(1, 2)
        o = o if single else o[:, first : first + N]
        if not self.causal or mask is not None:
            return o, None
        return o, self._after(state, N, sums, counts, [k_BKTZ, v_BKTE, index_BKT])

    def _empty(self, k: Tensor, v: Tensor) -> VQState:
        B, S, slots = len(k), len(self.quantizer.code), 2 * self.block - 1
        sum_BSE, counts_BS = v.new_zeros(B, S, v.shape[2]), self._count(v).new_zeros(B, S)
        index = torch.zeros(B, slots, dtype=torch.int64, device=k.device)
        return VQState(
            sum_BSE, counts_BS, k.new_zeros(B, slots, k.shape[2]), v.new_zeros(B, slots, v.shape[2]), index, 0
        )

    @staticmethod
    def _count(v: Tensor) -> Tensor:
        """Counts are float32 at least: half precision stops counting at 2048."""
        return v.new_zeros((), dtype=torch.promote_types(v.dtype, torch.float32))

    def _by_code(self, v_BKTE: Tensor, index_BKT: Tensor, real_BKT: Tensor, state: VQState) -> tuple[Tensor, Tensor]:
        """Sums of values (B, K + 1, S, E) and counts (B, K + 1, S) before each block and after the last one."""
        B, K, T = index_BKT.shape
        S = len(self.quantizer.code)
        row = torch.arange(B * K, device=index_BKT.device).repeat_interleave(T) * S + index_BKT.flatten()
        weight = real_BKT.flatten().to(v_BKTE.dtype)
        sums = v_BKTE.new_zeros(B * K * S, v_BKTE.shape[-1]).index_add(0, row, v_BKTE.flatten(0, 2) * weight[:, None])
        counts = self._count(v_BKTE).new_zeros(B * K * S)
        counts = counts.index_add(0, row, real_BKT.flatten().to(counts.dtype))
        parts = (sums.view(B, K, S, -1), state.sum_BSE), (counts.view(B, K, S), state.counts_BS)
        rising = [torch.cat([start[:, None], own], 1).cumsum(1) for own, start in parts]
        return rising[0], rising[1]

    def _attend(
        self,
        q_BKnZ: Tensor,
        first: int,
        k_BKTZ: Tensor,
        v_BKTE: Tensor,
        real_BKT: Tensor,
        folded: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Each block of queries over the codes that are far and over the keys of its neighbours."""
        T, (n, K) = self.block, (q_BKnZ.shape[2], q_BKnZ.shape[1])
        wide = 2 if self.causal else 3
        k_BKmZ, v_BKmE, real_BKm = (
            torch.cat([part[:, i : i + K] for i in range(wide)], 2) for part in (k_BKTZ, v_BKTE, real_BKT)
        )
        sums, counts = (part[:, :K] for part in folded)
        if not self.causal:
            sums, counts = (
                near + part[:, -1:] - part[:, wide:] for near, part in zip((sums, counts), folded, strict=True)
            )
        scaled = q_BKnZ * q_BKnZ.shape[-1] ** -0.5
        places_n = torch.arange(T + first, T + first + n, device=scaled.device)
        places_m = torch.arange(wide * T, device=scaled.device)
        near = scaled @ k_BKmZ.mT
        if self.bias is not None:
            near = near + self.bias(places_n, places_m)
        visible = real_BKm[:, :, None]
        if self.causal:
            visible = visible & (places_m <= places_n[:, None])
        near = near.masked_fill(~visible, -torch.inf)
        far = scaled @ self.quantizer.code.to(scaled.dtype).mT + counts.log().to(scaled.dtype)[:, :, None]
        # a query of padding may see nothing; its row is dropped or masked by the caller
        weights = torch.cat([far, near], -1)
        weights = weights.masked_fill(~weights.isfinite().any(-1, keepdim=True), 0).softmax(-1)
        means = sums / counts.clamp(min=1).to(sums.dtype)[..., None]
        S = means.shape[2]
        return weights[..., :S] @ means + weights[..., S:] @ v_BKmE

    def _after(self, state: VQState, N: int, sums: Tensor, counts: Tensor, laid: list[Tensor]) -> VQState:
        T = self.block
        seen = state.seen + N
        passed = seen // T - state.seen // T  # blocks of keys that are two behind from now on
        start, end = passed * T, (passed + 1) * T + seen % T
        k, v, index = (_padded(part.flatten(1, 2)[:, start:end], 2 * T - 1 - (end - start), 0) for part in laid)
        return VQState(sums[:, passed].clone(), counts[:, passed].clone(), k, v, index, seen)


def _padded(row: Tensor, before: int, after: int) -> Tensor:
    """(B, N, ..) with zeros in front and behind; a copy."""
    return F.pad(row, (0, 0) * (row.ndim - 2) + (before, after))
