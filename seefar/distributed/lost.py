"""What happens when a rank dies: every other one gets an error that names it, soon, instead of waiting for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

NOTE = "seefar: lost by"
GRACE = 1.0  # seconds
PROBE, CLOSE = 0x5EEFA0, 0x5EEFA1  # tags of messages that nobody receives


class RankLost(RuntimeError):
    """Another rank has died, has given up or does not answer.

    Attributes:
        ranks: those that were lost first, as far as anybody has seen.
    """

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks


class Bounded:
    """Something under way that is waited for so long and no longer.

    Args:
        post: starts it.
        group: it runs in.
        peer: the one rank that it depends on, None when it is all of them.
        seconds: of waiting. NCCL keeps its own time.

    Raises:
        RankLost: here and from ``wait``; the connections to all other ranks are then closed, so that they learn of it
            now and not when their own time is up.
    """

    def __init__(
        self, post: Callable[[], dist.Work | None], group: dist.ProcessGroup, peer: int | None, seconds: float
    ) -> None:
        self.group, self.peer, self.seconds = group, peer, seconds
        try:
            self.work = post()
        except RuntimeError as error:
            raise self._explained(error) from error

    def wait(self) -> None:
        """Return when it is done."""
        assert self.work is not None
        try:
            if _is_gloo(self.group):
                self.work.wait(timedelta(seconds=self.seconds))
            else:
                self.work.wait()
        except RuntimeError as error:
            raise self._explained(error) from error

    def _explained(self, error: RuntimeError) -> RuntimeError:
        text = str(error)
        late = "imed out" in text
        if not late and "gloo/transport" not in text:
            return error
        peer = [] if self.peer is None else [self.peer]
        gone = peer if late or not _is_gloo(self.group) else _closed(self.group) or peer
        first, late = _first(self.group, gone, late)
        if _is_gloo(self.group):
            _close(self.group)
        names = " and ".join(f"rank {rank}" for rank in first) or "some rank"
        what = f"has not answered for {self.seconds:g} s" if late else "is gone"
        who = f"rank {self.group.rank()} of {self.group.size()}"
        return RankLost(f"{who}: {names} {what}; see what was said there last", tuple(first))


def _is_gloo(group: dist.ProcessGroup) -> bool:
    return group.name() == "gloo"


def _closed(group: dist.ProcessGroup) -> list[int]:
    """Ranks whose connection is closed: a message to them cannot even be started."""
    closed = []
    for rank in range(group.size()):
        try:
            if rank != group.rank():
                group.send([torch.zeros(1)], rank, PROBE)
        except RuntimeError:
            closed.append(rank)
    return closed


def _close(group: dist.ProcessGroup) -> None:
    """Close all connections: gloo does so when the time of any operation is up."""
    for rank in range(group.size()):
        if rank != group.rank():
            try:
                group.recv([torch.zeros(1)], rank, CLOSE).wait(timedelta(milliseconds=1))
            except RuntimeError:
                continue


def _first(group: dist.ProcessGroup, gone: list[int], late: bool) -> tuple[list[int], bool]:
    """Of all that anybody has lost, those who did not lose somebody themselves; and whether they were only late.

    Every rank notes whom it lost before it closes its connections, so that whoever loses it for that reason knows.
    """
    try:
        store = group.get_group_store()
        store.set(f"{NOTE} {group.rank()}", f"{'late' if late else 'gone'} {' '.join(map(str, gone))}")
        if late:  # those who wait for each other in a row give up at about the same time
            time.sleep(GRACE)
        keys = {rank: f"{NOTE} {rank}" for rank in range(group.size())}
        notes = {rank: store.get(key).decode().split() for rank, key in keys.items() if store.check([key])}
    except (AttributeError, RuntimeError):  # threads have no store here; or it has died with the rank that kept it
        return gone, late
    lost = {int(rank) for _, *ranks in notes.values() for rank in ranks}
    return sorted(lost - notes.keys()) or gone, any(kind == "late" for kind, *_ in notes.values())
