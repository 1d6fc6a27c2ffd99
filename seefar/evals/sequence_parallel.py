"""What a way to share a sequence among ranks costs and whether it is right; taken on every rank at once.

An ``attend`` takes tensors by name, tokens on axis 2, and gives outputs with tokens on axis 2, or a tuple that begins
with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from seefar.distributed import Ranks, Traffic, collect, deal, on_ranks
from seefar.distributed.key_gather import gather
from seefar.distributed.launch import Where
from seefar.distributed.layout import Layout
from seefar.evals.protocols import Arm, Curves, Setting, sweep
from seefar.ops.attention import attention

Attend = Callable[..., Any]


def sweeps(
    launch: Callable[[int], Sequence[Mapping[str, Mapping[Any, float]]]],
    tables: Mapping[str, tuple[Sequence[str], Sequence[Any]]],
    setting: Setting,
) -> dict[str, Curves]:
    """Several sweeps out of one launch a seed.

    Args:
        launch: ``launch(seed)`` gives what each rank measured, by arm and point; rank 0 speaks for all.
        tables: title -> (arms, points).
        setting: the scale.
    """

    @cache
    def measured(seed: int) -> Mapping[str, Mapping[Any, float]]:
        return launch(seed)[0]

    def arm(name: str) -> Arm:
        return lambda seed: measured(seed)[name].__getitem__

    return {
        title: sweep(title, {name: arm(name) for name in arms}, points, setting)
        for title, (arms, points) in tables.items()
    }


def one_launch(
    world: int, measure: Callable[..., Any], seeds: Sequence[int], *args: Any, where: Where
) -> Callable[[int], Sequence[Mapping[str, Mapping[Any, float]]]]:
    """A ``launch`` for ``sweeps`` that starts the ranks once for all seeds, for to start takes them longer than to run.

    Args:
        world: number of ranks.
        measure: ``measure(ranks, seed, *args)``, a function of a module; rank 0 speaks for all.
        seeds: to measure.
        args: handed on.
        where: as in ``on_ranks``.
    """

    @cache
    def everything() -> Any:
        return on_ranks(world, _for_each, measure, tuple(seeds), args, where=where)[0]

    return lambda seed: [everything()[seed]]


def _for_each(ranks: Ranks, measure: Callable[..., Any], seeds: tuple[int, ...], args: tuple[Any, ...]) -> Any:
    return {seed: measure(ranks, seed, *args) for seed in seeds}


def traffic(ranks: Ranks, attend: Attend, tensors: Mapping[str, Tensor]) -> tuple[Traffic, Traffic]:
    """What this rank sends in a call on its own tensors, and in the backward pass; the latter only if they need one."""
    ranks.take()
    out = _outputs(attend(**tensors))
    forward = ranks.take()
    if out.requires_grad:
        out.sum().backward()
    return forward, ranks.take()


def circulate(k: Tensor, v: Tensor, *, ranks: Ranks, **_: Tensor) -> Tensor:
    """The exchange of ring attention, keys and values from rank to rank, and nothing else of it."""
    return [piece for _, piece in ranks.around(torch.cat([k, v], -1))][-1]


def by_mean(q: Tensor, k: Tensor, v: Tensor, *, ranks: Ranks) -> Tensor:
    """Attention to the keys of each rank as if they were all, joined by the mean; wrong, and that must show."""
    everyones = zip(gather(k, ranks), gather(v, ranks), strict=True)
    return torch.stack([attention(q, keys, values) for keys, values in everyones]).mean(0)


def undealt(whole: Attend, world: int, layout: Layout) -> Attend:
    """``whole`` for a sequence whose tokens stand as ranks hold them, those of rank 0 first; so are its outputs."""

    def attend(**given: Tensor) -> Tensor:
        out = _outputs(whole(**{name: collect(x.chunk(world, 2), layout) for name, x in given.items()}))
        return torch.cat(deal(out, world, layout), 2)

    return attend


def digits(ranks: Ranks, attend: Attend, whole: Attend, tensors: Mapping[str, Tensor]) -> float:
    """Decimal digits to which the ranks give the outputs and gradients of one process, at most 17.

    Of the largest difference over all ranks, relative to the largest number of the tensor that differs.

    Args:
        ranks: that share the sequence, in pieces of as near equal length as can be.
        attend: on this rank's piece.
        whole: on the whole sequence.
        tensors: the whole sequence, the same on all ranks.
    """
    all_of_it = {name: x.detach().requires_grad_() for name, x in tensors.items()}
    own = {name: x.detach().tensor_split(ranks.world, 2)[ranks.rank].requires_grad_() for name, x in tensors.items()}
    out, piece = _outputs(whole(**all_of_it)), _outputs(attend(**own))
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    want = [out.detach(), *torch.autograd.grad((out * probe).sum(), list(all_of_it.values()))]
    share = probe.tensor_split(ranks.world, 2)[ranks.rank]
    got = [piece.detach(), *torch.autograd.grad((piece * share).sum(), list(own.values()))]
    worst = max(
        float((a - b.tensor_split(ranks.world, 2)[ranks.rank]).abs().max() / b.abs().max())
        for a, b in zip(got, want, strict=True)
    )
    return -math.log10(max(_worst(ranks, worst), 1e-17))


def seconds(
    ranks: Ranks, attends: Mapping[str, Attend], tensors: Mapping[str, Tensor], *, repeats: int = 3
) -> dict[str, float]:
    """Forward and backward of each on the slowest rank: the shortest of ``repeats`` after one to warm up, by turns."""
    best = dict.fromkeys(attends, math.inf)
    for turn in range(repeats + 1):
        for name, attend in attends.items():
            ranks.barrier()
            began = time.perf_counter()
            traffic(ranks, attend, tensors)
            took = _worst(ranks, time.perf_counter() - began)
            if turn:
                best[name] = min(best[name], took)
    return best


def _outputs(result: Any) -> Tensor:
    out: Tensor = result[0] if isinstance(result, tuple) else result
    return out


def _worst(ranks: Ranks, value: float) -> float:
    return float(ranks.all_gather(torch.tensor(value, dtype=torch.float64)).wait().max())
