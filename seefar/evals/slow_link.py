"""A ring whose links are slow, on one machine: what of the time on the way is hidden behind computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seefar.distributed import Ranks
from seefar.distributed.ranks import Pending
from seefar.evals.sequence_parallel import Attend, seconds, traffic


class SlowLink(Ranks):
    """Ranks in whose ring a message arrives no sooner than a link of a given speed would bring it.

    One message after another goes over the link to the next rank. What arrives too soon is slept for, and the sleep is
    counted, so that how busy the machine is does not matter much.

    Args:
        ranks: what it is about.
        bytes_per_second: of each link; infinite for no delay.
        ahead: a message is on its way while the rank computes; False waits for each as soon as it is sent.
    """

    def __init__(self, ranks: Ranks, bytes_per_second: float, *, ahead: bool = True) -> None:
        super().__init__(ranks.group, ranks.seconds)
        self.bytes_per_second, self.ahead = bytes_per_second, ahead
        self.free = 0.0
        self.under_way = self.waited = 0.0

    def turn(self, x: Tensor) -> Pending:
        """As in ``Ranks``, but late."""
        takes = x.nbytes / self.bytes_per_second
        self.free = max(self.free, time.perf_counter()) + takes
        self.under_way += takes
        late = _Late(super().turn(x), self.free, self)
        return late if self.ahead else Pending([], late.wait())


class _Late(Pending):
    def __init__(self, pending: Pending, at: float, link: SlowLink) -> None:
        super().__init__(pending.work, pending.out, pending.finish)
        self.at, self.link = at, link

    def wait(self) -> Tensor:
        out = super().wait()
        rest = self.at - time.perf_counter()
        if rest > 0:
            time.sleep(rest)
            self.link.waited += rest
        return out


class Hidden(NamedTuple):
    """Share of the time on the way that no rank waited for, the least of all ranks; and the seconds of it all."""

    share: float
    seconds: float


def hidden(ranks: Ranks, build: Callable[[Ranks], Attend], tensors: Mapping[str, Tensor], *, ahead: bool) -> Hidden:
    """Of a forward and backward on links so slow that messages take as long as the computing.

    Args:
        ranks: with links that are as good as instant.
        build: makes the call from ranks.
        tensors: of this rank.
        ahead: as in ``SlowLink``.

    Raises:
        ValueError: nothing goes around, as with one rank.
    """
    computing = seconds(ranks, {"": build(ranks)}, tensors, repeats=1)[""]
    sent = sum(each.sent for each in traffic(ranks, build(ranks), tensors))
    link = SlowLink(ranks, sent / computing, ahead=ahead)
    took = seconds(link, {"": build(link)}, tensors, repeats=1)[""]
    if link.under_way == 0:
        raise ValueError(f"hidden: nothing went around a ring of {ranks.world}; it takes two ranks or more")
    share = torch.tensor(1 - link.waited / link.under_way, dtype=torch.float64)
    return Hidden(float(ranks.all_gather(share).wait().min()), took)
