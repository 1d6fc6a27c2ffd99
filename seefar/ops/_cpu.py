"""What the numba backends share: which tensors they take, the smallest number they keep, and their threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import count

import numpy as np
import torch
from torch import Tensor

WORTH_A_THREAD = 1_000_000  # elementary operations; fewer are done before a second thread has started


def needs_numba(tensor: Tensor) -> str | None:
    """Why the numba kernels cannot take this tensor, or None."""
    if find_spec("numba") is None:
        return "numba is not installed: pip install 'seefar[fast]'"
    if tensor.device.type != "cpu":
        return f"needs the CPU, got {tensor.device}"
    if tensor.dtype not in (torch.float32, torch.float64):
        return f"needs float32 or float64, got {tensor.dtype}"
    return None


def tiny(dtype: torch.dtype) -> np.floating:
    """Where a fading state is set to zero: numbers below the normal range slow a processor down twentyfold."""
    return np.float32(1e-30) if dtype == torch.float32 else np.float64(1e-290)


def spread(piece: Callable[[int], None], pieces: int, *, work: int) -> None:
    """Call ``piece(0) ... piece(pieces - 1)`` once each, on torch.get_num_threads() threads where that pays.

    Plain Python threads over kernels that release the interpreter lock, started and joined within the call: numba's
    own pools abort when two threads call at once, do not survive a fork, and keep cores spinning that torch wants.

    Args:
        piece: does one piece, of which no two write the same place.
        pieces: how many there are.
        work: elementary operations of all pieces together.
    """
    threads = min(pieces, torch.get_num_threads()) if work >= WORTH_A_THREAD else 1
    ticket = count()

    def pull() -> None:
        while (mine := next(ticket)) < pieces:
            piece(mine)

    if threads <= 1:
        pull()
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(pull) for _ in range(threads - 1)]
        pull()
    for other in others:
        other.result()
