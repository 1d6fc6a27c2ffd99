"""Ranks on this machine: real processes, or threads of this one, joined by gloo through a file or a store in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from traceback import clear_frames
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from seefar.distributed.lost import RankLost
from seefar.distributed.ranks import Ranks

Where = Literal["processes", "threads"]


def on_ranks(
    world: int,
    work: Callable[..., Any],
    *args: Any,
    where: Where = "processes",
    seconds: float = 300.0,
) -> list[Any]:
    """Run ``work(ranks, *args)`` on every rank and give back the results, by rank.

    Both ways go through gloo's sockets. Processes compute side by side, one core each; they start in seconds, and
    import the module of ``work`` anew. Threads start at once but share Python's lock, which is enough to count bytes.

    Args:
        world: number of ranks.
        work: a function of a module, so that another process can import it; any callable for threads.
        args: given to each rank; for processes whatever can be pickled.
        where: "processes" or "threads".
        seconds: after which a rank that waits for another gives up.

    Raises:
        ValueError: no rank, or an unknown ``where``.
        Exception: what the work of a rank raised; from a process as ``torch.multiprocessing.ProcessRaisedException``.
        RankLost: a process died; the others are ended.
    """
    if world < 1:
        raise ValueError(f"on_ranks: at least one rank is needed, got {world}")
    limit = timedelta(seconds=seconds)
    if where == "threads":
        return _threads(world, limit, work, args)
    if where != "processes":
        raise ValueError(f"on_ranks: where must be 'processes' or 'threads', got {where!r}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            mp.start_processes(_process, (world, folder, limit, work, args), nprocs=world, start_method="spawn")
        except mp.ProcessExitedException as error:
            how = error.signal_name or f"exit code {error.exit_code}"
            died = f"rank {error.error_index} of {world} died ({how}); the others were ended"
            raise RankLost(f"on_ranks: {died}", (error.error_index,)) from error
        return [torch.load(_result(folder, rank), weights_only=False) for rank in range(world)]


def _threads(world: int, limit: timedelta, work: Callable[..., Any], args: tuple[Any, ...]) -> list[Any]:
    store = dist.HashStore()
    errors: list[Exception] = []

    def join(rank: int) -> Any:
        return dist.ProcessGroupGloo(store, rank, world, limit)  # not registered, so many fit into a process

    def run(rank: int) -> Any:
        try:
            return work(Ranks(groups[rank], limit.total_seconds()), *args)
        except Exception as error:
            errors.append(error)
            # without its group the other ranks lose the connection now, instead of waiting for one that never comes
            clear_frames(error.__traceback__)
            groups[rank] = None

    with ThreadPoolExecutor(world) as pool:
        groups = list(pool.map(join, range(world)))  # all of them before any work: it may end before others have joined
        results = list(pool.map(run, range(world)))
    if errors:
        raise errors[0]  # the others only lost their connection to it
    return results


def _process(
    rank: int, world: int, folder: str, limit: timedelta, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=limit)
    try:
        torch.save(work(Ranks(seconds=limit.total_seconds()), *args), _result(folder, rank))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _result(folder: str, rank: int) -> Path:
    return Path(folder) / f"{rank}.pt"
