"""What the fast forms share: the completed square, values with a column for the sum of weights, and tiles.

G heads of all rows of the batch, one after another; P products that stand for the square of a product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CACHED = 2**19
"""Numbers between two products that a processor keeps near; heads are worked on together while they fit."""


def exact(x: Tensor) -> torch.dtype:
    """The dtype of sums over tokens."""
    return torch.promote_types(x.dtype, torch.float32)


def completed(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, parabola: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor, float]:
    """q' (G, N, d + 1), k' (G, M, d + 1), values (v, 1) (G, M, dv + 1) and rest: w / a = (q' . k')^2 + rest."""
    a, b, c = parabola
    h = b / (2 * a)
    values = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    if mask is not None:
        values = values * mask[:, None, :, None]
    q, k = (torch.cat([x, x.new_full((*x.shape[:3], 1), last)], -1) for x, last in ((q, h), (k, 1.0)))
    return q.flatten(0, 1), k.flatten(0, 1), values.flatten(0, 1), c / a - h * h


def divided(sums: Tensor, values: Tensor, rest: float, shape: torch.Size) -> Tensor:
    """Sums over squares (G, N, dv + 1), with the rest of all weights added, over their last column: (B, H, N, dv)."""
    sums = (sums + rest * values.sum(1, keepdim=True)).unflatten(0, shape[:2])
    weight = sums[..., -1:]
    return sums[..., :-1] / weight.masked_fill(weight == 0, 1)


def through_sums(
    q: Tensor, k: Tensor, values: Tensor, tile: int | None, pairs: Callable[[Tensor], Tensor], factor: Tensor
) -> Tensor:
    """sum_j (q_i . k_j)^2 v_j as pairs(q_i) . sum_j pairs(k_j) v_j.

    Args:
        q: (G, N, D).
        k: (G, M, D).
        values: (G, M, E).
        tile: tokens at a time; None for all, without forgetting anything.
        pairs: (G, D, n) tokens in columns -> (G, P, n) products of their numbers.
        factor: (P, 1) how often each product counts.
    """
    q, k = (x.mT.contiguous() for x in (q, k))  # tokens along memory: products of their numbers then run along it too

    def write(keys: Tensor, held: Tensor) -> Tensor:
        return pairs(keys) @ held

    def read(queries: Tensor, total: Tensor) -> Tensor:
        return pairs(queries).mT @ total

    if tile is None:
        return read(q, factor * write(k, values))
    heads = together(tile * len(factor))
    pieces = []
    for some_q, some_k, some_v in zip(q.split(heads), k.split(heads), values.split(heads), strict=True):
        total = q.new_zeros(len(some_q), len(factor), values.shape[2])
        for keys, held in zip(some_k.split(tile, 2), some_v.split(tile, 1), strict=True):
            total = total + forgetful(write, keys, held)
        total = factor * total
        pieces.append(torch.cat([forgetful(read, some, total) for some in some_q.split(tile, 2)], 1))
    return torch.cat(pieces)


def together(numbers: int) -> int:
    """Heads that are worked on at once, if one makes so many numbers."""
    return max(1, CACHED // max(1, numbers))


def forgetful(work: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``work(*tensors)``, of which the backward keeps nothing but the tensors."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        found: Tensor = checkpoint(work, *tensors, use_reentrant=False, preserve_rng_state=False)
        return found
    return work(*tensors)
