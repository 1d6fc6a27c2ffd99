"""Starts four processes in a ring, kills or stops one, and prints what the others say: rank, seconds, message.

A program of its own: it forks before it has threads, so that four processes cost the start of one.
"""

import json
import os
import signal
import sys
import tempfile
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from seefar.distributed import RankLost, Ranks, ring_attention

WORLD, VICTIM = 4, 1


def survive(rank, folder, what, limit):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=600))
    ranks = Ranks(seconds=limit)
    x = torch.ones(1, 1, 64, 8)
    ring_attention(x, x, x, ranks)
    ranks.barrier()
    if rank == VICTIM:
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[what])
    began = time.perf_counter()
    try:
        while True:  # the isend of one of these meets the dead
            list(ranks.around(x))
    except RankLost as error:
        say = {"rank": rank, "seconds": time.perf_counter() - began, "lost": error.ranks, "message": str(error)}
        os.write(1, f"{json.dumps(say)}\n".encode())  # at once, or lines of several processes mix
    time.sleep(60)  # its end must not be what tells the others


def main(what, limit):
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(WORLD):
            child = os.fork()
            if child == 0:
                survive(rank, folder, what, limit)
                os._exit(0)
            children.append(child)
        print(json.dumps(children), flush=True)
        for child in children:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
