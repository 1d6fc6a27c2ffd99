"""The processes that share a sequence, and the exact number of bytes that they send each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
import torch.distributed as dist
from torch import Tensor

from seefar.distributed.lost import Bounded

LONGEST = 512  # letters of what a rank says when ranks disagree


@dataclass
class Traffic:
    """What one rank has sent.

    Args:
        collectives: operations that all ranks take part in.
        messages: sends from one rank to one other.
        sent: bytes of data that left this rank for another; an all-gather counts its piece once for each of the others.
    """

    collectives: int = 0
    messages: int = 0
    sent: int = 0


class Pending:
    """A result that is under way; ``wait`` gives it.

    Args:
        work: what must end first.
        out: is filled by then.
        finish: is applied to ``out`` at last.
    """

    def __init__(self, work: Sequence[Bounded], out: Tensor, finish: Callable[[Tensor], Tensor] | None = None) -> None:
        self.work, self.out, self.finish = work, out, finish

    def wait(self) -> Tensor:
        """The result, once it has arrived."""
        for each in self.work:
            each.wait()
        return self.out if self.finish is None else self.finish(self.out)


class Ranks:
    """The ranks of a process group in the order of the sequence: rank 0 holds its first tokens.

    Every operation starts at once and is waited for later, so that a rank can compute in between.

    When a rank dies, every other one gets a ``RankLost`` that names it, within a second of needing it; a rank that
    lives but does not answer is given ``seconds``. The group is of no use afterwards.

    Args:
        group: of torch.distributed, such as ``mesh.get_group("sequence")`` of a DeviceMesh; the default group when left
            out. Gloo or NCCL.
        seconds: after which a rank that waits for another gives up; NCCL keeps its own time.

    Attributes:
        traffic: what this rank has sent since the last ``take``.

    Raises:
        RuntimeError: there is no default group yet.
    """

    def __init__(self, group: dist.ProcessGroup | None = None, seconds: float = 300.0) -> None:
        if group is None:
            if not dist.is_initialized():
                raise RuntimeError(
                    "Ranks: no process group; call torch.distributed.init_process_group(...) in every process, "
                    "or start processes on this machine with seefar.distributed.on_ranks(world, work)"
                )
            group = dist.group.WORLD
        assert group is not None
        self.group = group
        self.rank, self.world = group.rank(), group.size()
        self.seconds = seconds
        self.traffic = Traffic()

    def all_gather(self, x: Tensor) -> Pending:
        """x of every rank, (world, *x.shape); x has one shape on all of them."""
        x = x.detach().contiguous()
        out = x.new_empty((self.world, *x.shape))
        self._count((self.world - 1) * x.nbytes)
        return Pending([self._start(lambda: dist.all_gather(list(out.unbind()), x, self.group, async_op=True))], out)

    def reduce_scatter(self, x: Tensor) -> Pending:
        """The sum over ranks of their x[rank], where x is (world, ...)."""
        if len(x) != self.world:
            raise ValueError(f"reduce_scatter: x needs one piece for each of {self.world} ranks, got {tuple(x.shape)}")
        x = x.detach().contiguous()
        out = torch.empty_like(x)
        self._count((self.world - 1) * x[0].nbytes)
        # summed here: gloo's own reduce-scatter is an all-reduce inside and sends twice as much
        pieces = list(x.unbind())
        work = self._start(lambda: dist.all_to_all(list(out.unbind()), pieces, self.group, async_op=True))
        return Pending([work], out, lambda pieces: pieces.sum(0))

    def send(self, x: Tensor, to: int) -> Pending:
        """x to one other rank, which must call ``receive``."""
        x = x.detach().contiguous()
        self.traffic.messages += 1
        self.traffic.sent += x.nbytes
        return Pending([self._start(lambda: dist.isend(x, group=self.group, group_dst=to), to)], x)

    def receive(self, like: Tensor, source: int) -> Pending:
        """What the source sends, in the shape and dtype of ``like``."""
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        return Pending([self._start(lambda: dist.irecv(out, group=self.group, group_src=source), source)], out)

    def around(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Every rank's x by way of a ring: (rank it belongs to, x), its own first, then that of the rank before it.

        The next piece is under way while the caller works on the one it holds.
        """
        for step in range(self.world):
            coming = self.turn(x) if step < self.world - 1 else Pending([], x)
            yield (self.rank - step) % self.world, x
            x = coming.wait()

    def turn(self, x: Tensor) -> Pending:
        """x to the next rank, and that of the rank before; odd ranks receive first, or NCCL would stand still."""
        after, before = (self.rank + 1) % self.world, (self.rank - 1) % self.world
        if self.rank % 2:
            coming, going = self.receive(x, before), self.send(x, after)
        else:
            going, coming = self.send(x, after), self.receive(x, before)
        return Pending([*coming.work, *going.work], coming.out)

    def agree(self, caller: str, like: Tensor, **facts: object) -> None:
        """All ranks must come with the same facts, or each of them gets the error; eight bytes each, not counted.

        Args:
            caller: for the message.
            like: a tensor on the device that the ranks talk through.
            facts: whatever has a ``repr``.

        Raises:
            ValueError: they differ; says what each rank came with.
        """
        if self.world == 1:
            return
        text, kept = repr(facts).encode(), self.take()
        own = int.from_bytes(sha256(text).digest()[:8], "big", signed=True)
        try:
            if len(self.all_gather(torch.tensor([own], device=like.device)).wait().unique()) == 1:
                return
            letters = torch.tensor(list(text[:LONGEST].ljust(LONGEST)), dtype=torch.uint8, device=like.device)
            said = [bytes(row).decode(errors="replace").strip() for row in self.all_gather(letters).wait().tolist()]
        finally:
            self.traffic = kept
        raise ValueError(f"{caller}: ranks disagree: " + "; ".join(f"rank {r} {each}" for r, each in enumerate(said)))

    def barrier(self) -> None:
        """Return when every rank has come here; not counted."""
        self._start(lambda: dist.barrier(group=self.group, async_op=True)).wait()

    def take(self) -> Traffic:
        """What was sent since the last call, and count from zero again."""
        traffic, self.traffic = self.traffic, Traffic()
        return traffic

    def _start(self, post: Callable[[], dist.Work | None], peer: int | None = None) -> Bounded:
        return Bounded(post, self.group, peer, self.seconds)

    def _count(self, nbytes: int) -> None:
        self.traffic.collectives += 1
        self.traffic.sent += nbytes
