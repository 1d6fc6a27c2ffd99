"""What a rank does in the tests; a module of its own, so that another process can import it."""

import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed as dist

from seefar.distributed import Ranks, state_attention

COUNTERS = Path("/proc/self/io")
KINDS = [
    (decay, causal, exchange, start)
    for decay in ("none", "head", "gates")
    for causal, exchange in ((True, "all_gather"), (False, "all_gather"), (True, "ring"))
    for start in (False, True)
]


def inputs(lengths, decay="none", start=False, B=2, H=3, d=4, dv=5):
    """The whole sequence, float64."""
    N = sum(lengths)
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (B, H, N, d), "k": (B, H, N, d), "v": (B, H, N, dv), "state": (B, H, d, dv)}
    given = {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}
    if decay != "none":
        shape = (H,) if decay == "head" else (B, H, N)
        given["decay"] = 0.5 + 0.5 * torch.rand(*shape, generator=generator, dtype=torch.float64)
    if not start:
        del given["state"]
    return given


def probes(lengths, B=2, H=3, d=4, dv=5):
    """Weights of a loss that reads every output, and the state after every piece."""
    generator = torch.Generator().manual_seed(len(lengths))
    return tuple(
        torch.randn(*s, generator=generator, dtype=torch.float64)
        for s in [(B, H, sum(lengths), dv), (len(lengths), B, H, d, dv)]
    )


def piece(given, lengths, rank):
    """What one rank holds of the whole."""
    mine = {key: x.split(lengths, 2)[rank] if key in "qkv" or x.ndim == 3 else x for key, x in given.items()}
    if rank > 0:
        mine.pop("state", None)
    return {key: x.clone().requires_grad_() for key, x in mine.items()}


def run(ranks, lengths, kinds=KINDS):
    """Outputs, states, gradients and traffic of every kind of call, for one piece."""
    results = []
    for decay, causal, exchange, start in kinds:
        given = piece(inputs(lengths, decay, start), lengths, ranks.rank)
        o, end = state_attention(**given, ranks=ranks, causal=causal, exchange=exchange)
        forward = ranks.take()
        weights, end_weights = probes(lengths)
        loss = (o * weights.split(lengths, 2)[ranks.rank]).sum()
        if end is not None:
            loss = loss + (end * end_weights[ranks.rank]).sum()
        gradients = dict(zip(given, torch.autograd.grad(loss, list(given.values())), strict=True))
        end = None if end is None else end.detach()
        results.append({"o": o.detach(), "end": end, "gradients": gradients, "traffic": (forward, ranks.take())})
    return results


def run_two_groups(ranks, two, three, kinds):
    """``run`` on all three ranks, and on a group of the first two; and what the system says was written."""
    pair = dist.new_group([0, 1])
    return {
        "three": run(ranks, three, kinds),
        "two": run(Ranks(pair), two, kinds) if ranks.rank < 2 else [],
        "written": written(ranks) if COUNTERS.exists() else {},
    }


def written(ranks):
    """(counted, written) bytes of each operation; Linux counts all that a process writes, sockets too."""
    x = torch.zeros(ranks.world, 100_000)
    operations = {
        "all_gather": lambda: ranks.all_gather(x[0]).wait(),
        "reduce_scatter": lambda: ranks.reduce_scatter(x).wait(),
        "around": lambda: list(ranks.around(x[0])),
    }
    found = {}
    for name, operation in operations.items():
        ranks.barrier()
        ranks.take()
        before = bytes_written()
        operation()
        ranks.barrier()
        found[name] = ranks.take().sent, bytes_written() - before
    return found


def bytes_written():
    counters = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
    return int(counters["wchar"])


def fail(ranks):
    raise ValueError(f"rank {ranks.rank} of {ranks.world} has had enough")


def die_as(ranks, victim):
    """One process is killed in the middle of its work; the others wait for it."""
    if ranks.rank == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    list(ranks.around(torch.ones(3)))
    time.sleep(600)
