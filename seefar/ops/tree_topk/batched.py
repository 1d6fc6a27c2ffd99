"""All heads and some blocks of queries side by side; a half that begins where its group did keeps its score.

r blocks of queries are worked on at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

AT_ONCE = 2**20
"""Numbers of the gathered keys, or of their scores."""


def cannot_run(q: Tensor, *_: Tensor) -> str | None:
    """Needs a floating dtype."""
    return None if q.is_floating_point() else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, spans: Tensor, count: int, block: tuple[int, int]) -> Tensor:
    """The search, strip by strip; sums run in float32 or wider."""
    (B, H, N, d), (n, m), rows = q.shape, block, len(spans)
    exact = torch.promote_types(q.dtype, torch.float32)
    q = torch.cat([q, q[:, :, -1:].expand(-1, -1, -N % n, -1)], 2) if N % n else q  # changes no maximum
    q_blocks, tokens = q.reshape(B * H, rows, n, d), k.reshape(-1, d)
    head = torch.arange(B * H, device=q.device).div(H // k.shape[1], rounding_mode="floor").view(-1, 1, 1, 1)
    within = torch.arange(m, device=q.device)
    strip = max(1, AT_ONCE // (B * H * count * m * max(n, d)))
    found = torch.empty((B * H, rows, count), dtype=torch.int64, device=q.device)
    for start in range(0, rows, strip):
        at = slice(start, start + strip)
        queries = q_blocks[:, at].flatten(0, 1).to(exact)

        def score(blocks: Tensor, queries: Tensor = queries) -> Tensor:
            places = (blocks[..., None] * m + within).clamp_(max=k.shape[2] - 1) + head * k.shape[2]
            keys = tokens.index_select(0, places.flatten()).view(len(queries), -1, d).to(exact)
            return torch.bmm(queries, keys.mT).amax(1).view(*blocks.shape, m).amax(-1)

        found[:, at] = _search(spans[at], count, B * H, score)
    return found.view(B, H, rows, count)


def _search(spans: Tensor, count: int, heads: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    """(heads, r, G) the blocks that are left, rising, -1 after the last."""
    size = (spans[:, 1] - spans[:, 0]).clamp_(min=0)
    bounds = spans[:, :1] + torch.arange(count + 1, device=spans.device) * size[:, None] // count
    low, high = (x.expand(heads, -1, -1) for x in (bounds[:, :-1], bounds[:, 1:]))
    widest = int((bounds[:, 1:] - bounds[:, :-1]).max())
    if widest > 1:
        scores = _unless_empty(score(low.clamp(max=(spans[:, 1:] - 1).clamp(min=0))), low, high)
    while widest > 1:
        middle = (low + high + 1) // 2
        right = _unless_empty(score(torch.minimum(middle, high - 1).clamp(min=0)), middle, high)
        scores, kept = torch.cat([scores, right], -1).topk(count, -1, sorted=False)
        low, high = torch.cat([low, middle], -1).gather(-1, kept), torch.cat([middle, high], -1).gather(-1, kept)
        widest = (widest + 1) // 2
    none = torch.iinfo(torch.int64).max
    rising = low.masked_fill(low >= high, none).sort(-1).values
    return rising.masked_fill(rising == none, -1)


def _unless_empty(scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return scores.masked_fill(low >= high, -torch.inf)
