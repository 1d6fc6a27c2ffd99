"""Attention shared by heads and blocks of queries: whether it is right, and what share of the work each rank has."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from seefar.distributed import Ranks, distributed_mha
from seefar.distributed.head_blocks import tile_attention, tiles
from seefar.evals.flops import matrix_flops
from seefar.ops.attention import attention

Attend = Callable[..., Tensor]


def agreement(ranks: Ranks, seed: int, *, length: int = 96) -> dict[str, dict[str, float]]:
    """Decimal digits to which tiles give the outputs and gradients of one process, at most 17; the worst of all ranks.

    "tiles of all" is ``distributed_mha``, ``tiles_of(world)``; "own tile alone" leaves out what the others send.
    """
    head_parts, row_parts = tiles_of(ranks.world)
    every = tiles(4, length, head_parts, row_parts)
    found: dict[str, dict[str, float]] = {"tiles of all": {}, "own tile alone": {}}
    for name, causal in (("all", False), ("causal", True)):
        want = _results(partial(attention, causal=causal), seed, length)
        shared = partial(distributed_mha, ranks=ranks, head_parts=head_parts, row_parts=row_parts, causal=causal)
        alone = partial(_alone, tile=every[ranks.rank], causal=causal)
        for arm, attend in (("tiles of all", shared), ("own tile alone", alone)):
            got = _results(attend, seed, length)
            worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(got, want, strict=True))
            over_ranks = ranks.all_gather(torch.tensor(worst, dtype=torch.float64)).wait().max()
            found[arm][name] = -math.log10(max(float(over_ranks), 1e-17))
    return found


def tiles_of(world: int) -> tuple[int, int]:
    """Parts of heads and of queries for so many ranks, as even as can be: 2 and 2 for four."""
    heads = max(part for part in range(1, math.isqrt(world) + 1) if world % part == 0)
    return heads, world // heads


def shares(head_parts: int, row_parts: int, *, heads: int = 4, length: int = 64) -> tuple[list[float], list[float]]:
    """Of all arithmetic, counted as it runs, and of all numbers of the output: what each rank has, rank 0 first."""
    q = torch.randn(1, heads, length, 16, generator=torch.Generator().manual_seed(0))
    whole = matrix_flops(partial(attention, q, q, q)), q.numel()
    calls = [partial(tile_attention, q, q, q, tile) for tile in tiles(heads, length, head_parts, row_parts)]
    return [matrix_flops(call) / whole[0] for call in calls], [call().numel() / whole[1] for call in calls]


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All weights written out, by PyTorch."""
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(q, k, v)


def _alone(q: Tensor, k: Tensor, v: Tensor, *, tile: tuple[range, range], causal: bool) -> Tensor:
    """The output of all with the gradient of one tile."""
    (heads, rows), whole = (slice(part.start, part.stop) for part in tile), attention(q, k, v, causal=causal)
    out = whole.detach().clone()
    out[:, heads, rows] = whole[:, heads, rows]
    return out


def _results(attend: Attend, seed: int, length: int) -> list[Tensor]:
    """Output and gradients of a loss that weighs every number."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v, probe = torch.randn(4, 1, 4, length, 16, generator=generator, dtype=torch.float64).unbind()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = attend(q, k, v)
    return [o.detach(), *torch.autograd.grad((o * probe).sum(), leaves)]
