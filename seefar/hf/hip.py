"""Attention to the few blocks of keys that a search by halves finds, to the last tokens, and to the very first ones.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head, n and m the height and width of a block,
R blocks of queries, K kept blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seefar.ops.attention import attention
from seefar.ops.block_attention import BlockMask, block_attention
from seefar.ops.picked_attention import picked_attention
from seefar.ops.tree_topk import tree_topk


class Found(NamedTuple):
    """What a layer's last search found, and for which text.

    kept_BHG: blocks of keys. place: of the first query that they were chosen for. recent: the block at which its window
    began. first_BKd, own_BKd: the text's first key and the one at ``place``, by which the text is known again.
    """

    kept_BHG: Tensor
    place: int
    recent: int
    first_BKd: Tensor
    own_BKd: Tensor


class HiP:
    """Causal attention of O(N log N), without training: each block of queries sees ``keep`` keys out of all before it.

    Each block of queries sees (1) the blocks that ``tree_topk`` finds between the other two, (2) the keys of its
    window, (3) the sinks. Where all keys fit into these, attention is exact.

    While a text grows, the blocks found for one token serve the next ones too, until ``refresh`` tokens have come; what
    came between is added to the window. That holds for tokens one at a time and for several at once (drafts, short
    chunks), and after some of them were taken back. A longer chunk, such as a prompt, searches for itself and leaves
    what is stored as it is: the first word after it asks something else than the prompt's last words. Texts are told
    apart by their keys, so that two that take turns never serve each other; ``forget`` frees what is stored.

    An attention for ``use_attention``; called alone as ``hip(q, k, v)``. It has gradients; the search has none.

    Args:
        keep: keys of the search, a multiple of m.
        block: (n, m) queries that search together and keys that are kept together.
        window: the last keys, counted from each block's first query, always seen.
        sinks: the first keys, always seen.
        refresh: tokens that one search serves; 1 searches for each token.

    Raises:
        ValueError: sizes that cannot be; when called: not causal, or fewer keys than queries.

    Example:
        >>> import torch
        >>> q, k, v = torch.randn(3, 1, 2, 4000, 16)
        >>> hip = HiP(keep=128, window=64)
        >>> hip(q, k, v).shape, round(hip.mask(q, k).density, 3)
        (torch.Size([1, 2, 4000, 16]), 0.052)

    Reference: Lee et al., HiP attention, arXiv 2406.09827; sinks: Xiao et al., StreamingLLM, arXiv 2309.17453. Differs:
    the search covers what window and sinks leave, and their keys do not count as kept; all queries of a block are
    scored (version 1.1 takes every other); positions are not extended beyond training.
    """

    def __init__(
        self, *, keep: int = 512, block: tuple[int, int] = (32, 2), window: int = 256, sinks: int = 4, refresh: int = 8
    ) -> None:
        if min(*block, keep, window, refresh) < 1 or sinks < 0:
            raise ValueError(f"HiP: sizes must be at least 1, got {keep=}, {block=}, {window=}, {sinks=}, {refresh=}")
        if keep % block[1]:
            raise ValueError(f"HiP: keep must be a multiple of a block's {block[1]} keys, got {keep}")
        self.keep, self.block, self.window, self.sinks, self.refresh = keep, block, window, sinks, refresh
        self._found: dict[int, Found] = {}

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, scale: float | None = None, layer: int = 0
    ) -> Tensor:
        """(B, H, N, dv) of queries (B, H, N, d) at the last N places of keys (B, Hkv, M, d) and values."""
        N, M = q.shape[2], k.shape[2]
        if not causal or M < N:
            raise ValueError(f"HiP: looks back only, at least as many keys as queries; got {causal=}, {N} and {M}")
        if self.keep + self.window + self.sinks >= M:
            return attention(q, k, v, causal=True, scale=scale)
        blocks = self._blocks(q, k, layer)
        if blocks.shape[2] == 1:
            return picked_attention(q, k, v, blocks[:, :, 0], width=self.block[1], scale=scale)
        return block_attention(q, k, v, BlockMask.listed(blocks, N, M, block=self.block), scale=scale)

    def mask(self, q: Tensor, k: Tensor) -> BlockMask:
        """The pairs that meet, found anew."""
        places = self._places(q.shape[2], k.shape[2], q.device)
        blocks = self._with_window(self._search(q, k, places), places, places.recent)
        return BlockMask.listed(blocks, q.shape[2], k.shape[2], block=self.block)

    def forget(self) -> None:
        """Free what the last searches found."""
        self._found.clear()

    def _blocks(self, q: Tensor, k: Tensor, layer: int) -> Tensor:
        """(B, H, R, K) blocks of keys that each block of queries sees, -1 where there is none."""
        N, M = q.shape[2], k.shape[2]
        places = self._places(N, M, q.device)
        found = self._found.get(layer)
        if found is not None and self._serves(found, q, k):
            recent = torch.full_like(places.recent, found.recent)
            return self._with_window(found.kept_BHG[:, :, None].expand(-1, -1, len(recent), -1), places, recent)
        kept = self._search(q, k, places)
        if self.refresh >= N:
            own, keys = int(places.first[-1]), k.detach()
            first_key, own_key = keys[:, :, 0].clone(), keys[:, :, own].clone()
            self._found[layer] = Found(kept[:, :, -1], own, int(places.recent[-1]), first_key, own_key)
        return self._with_window(kept, places, places.recent)

    def _serves(self, found: Found, q: Tensor, k: Tensor) -> bool:
        (B, H, N, _), M = q.shape, k.shape[2]
        return (
            found.place <= M - N
            and M - found.place <= self.refresh
            and found.kept_BHG.shape[:2] == (B, H)
            and found.first_BKd.shape == k[:, :, 0].shape
            and found.first_BKd.dtype == k.dtype
            and found.first_BKd.device == k.device
            and torch.equal(found.first_BKd, k[:, :, 0])
            and torch.equal(found.own_BKd, k[:, :, found.place])
        )

    def _places(self, N: int, M: int, device: torch.device) -> _Places:
        n, m = self.block
        first = torch.arange(M - N, M, n, device=device)
        last = (first + n - 1).clamp_(max=M - 1)
        return _Places(first, last // m, (first - self.window + 1).clamp_(min=0) // m)

    def _search(self, q: Tensor, k: Tensor, places: _Places) -> Tensor:
        m = self.block[1]
        spans = torch.stack([places.recent.clamp(max=-(-self.sinks // m)), places.recent], 1)
        return tree_topk(q, k, spans, count=self.keep // m, block=self.block)

    def _with_window(self, kept: Tensor, places: _Places, recent: Tensor) -> Tensor:
        """(B, H, R, K): what the search kept, the window from the block ``recent`` on, and the sinks."""
        last, device = places.last_block[:, None], kept.device
        near = recent[:, None] + torch.arange(int((last[:, 0] - recent).max()) + 1, device=device)
        early = torch.arange(-(-self.sinks // self.block[1]), device=device).expand(len(recent), -1)
        near = near.masked_fill(near > last, -1)
        early = early.masked_fill(early >= recent[:, None], -1)
        always = torch.cat([early, near], 1).expand(*kept.shape[:2], -1, -1)
        return torch.cat([kept, always], -1)


class _Places(NamedTuple):
    """(R,) each: a block's first query, the key block of its last one, the key block where its window begins."""

    first: Tensor
    last_block: Tensor
    recent: Tensor
