"""Softmax attention in which a token looks at a pattern of earlier ones, and only those are computed.

B batch, N tokens, D channels, H heads, M keys at hand, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.block_attention import BlockMask, block_attention

Pattern = Callable[[int, int], BlockMask]
"""``pattern(N, M)`` is the mask of N queries that stand at the end of M keys."""


class SparseState(NamedTuple):
    """Keys and values of all tokens that have passed."""

    k_BHMd: Tensor
    v_BHMd: Tensor


class SparseAttention(Mixer):
    """Each token takes a mean of the values that its pattern lets it see, weighted by how well their keys fit.

    y_n = W_o sum_m softmax_m(q_n . k_m / sqrt(d)) v_m,    m in pattern(n)

    Work goes by the pattern; the state does not, as a pattern may come back to any earlier token.

    Args:
        pattern: gives the mask, such as ``partial(BlockMask.strided, stride=32)``; all heads share it.
        backend: of ``ops.block_attention``; None for the fastest that can run.

    Raises:
        ValueError: heads that do not divide ``dim``; a state given to a pattern that is not causal.

    Example:
        >>> from functools import partial
        >>> mixer = SparseAttention(8, 2, partial(BlockMask.strided, stride=4))
        >>> mixer(torch.randn(1, 10, 8))[0].shape
        torch.Size([1, 10, 8])

    Reference: Child et al., Sparse Transformer, arXiv 1904.10509.
    """

    bounded = False

    def __init__(self, dim: int, heads: int, pattern: Pattern, *, backend: str | None = None) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"SparseAttention: heads must divide dim={dim}, got {heads}")
        self.causal = pattern(1, 1).causal
        self.heads, self.pattern, self.backend = heads, pattern, backend
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self._mask: BlockMask | None = None

    def forward(self, x: Tensor, state: SparseState | None = None) -> tuple[Tensor, SparseState | None]:
        """Mix x (B, N, D), going on from ``state``."""
        if state is not None and not self.causal:
            raise ValueError("SparseAttention: its pattern is not causal, so there is no state to go on from")
        q_BHNd, k_BHMd, v_BHMd = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if state is not None:
            k_BHMd, v_BHMd = (torch.cat(pair, 2) for pair in zip(state, (k_BHMd, v_BHMd), strict=True))
        mask = self._mask_of(x.shape[1], k_BHMd.shape[2])
        y_BHNd = block_attention(q_BHNd, k_BHMd, v_BHMd, mask, backend=self.backend)
        y = self.out(y_BHNd.transpose(1, 2).flatten(2))
        return y, SparseState(k_BHMd, v_BHMd) if self.causal else None

    def _mask_of(self, N: int, M: int) -> BlockMask:
        """The mask of the last call where it fits, as in training, where all calls are alike."""
        if self._mask is None or (self._mask.N, self._mask.M) != (N, M):
            self._mask = self.pattern(N, M)
        return self._mask
