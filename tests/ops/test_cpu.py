"""What the numba backends share."""

import threading

import pytest
import torch

from seefar.ops._cpu import spread


@pytest.mark.parametrize("threads", [1, 4])
def test_every_piece_runs_once_and_on_the_threads_that_torch_has(threads):
    before = torch.get_num_threads()
    meet = threading.Barrier(threads, timeout=10)  # broken unless as many threads work at once
    seen = []

    def piece(i):
        if i < threads:
            meet.wait()
        seen.append(i)

    try:
        torch.set_num_threads(threads)
        spread(piece, 37, work=10**9)
    finally:
        torch.set_num_threads(before)
    assert sorted(seen) == list(range(37))


def test_little_work_starts_no_thread():
    names = set()
    spread(lambda i: names.add(threading.current_thread().name), 5, work=100)
    assert names == {threading.current_thread().name}


def test_an_error_in_any_piece_comes_out():
    before = torch.get_num_threads()

    def piece(i):
        if i == 3:
            raise ValueError("piece 3 broke")

    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="piece 3 broke"):
            spread(piece, 8, work=10**9)
    finally:
        torch.set_num_threads(before)
