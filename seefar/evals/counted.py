"""What a call really executes, as PyTorch's dispatcher sees it: counts that no busy machine changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seefar.evals.flops import matrix_flops
from seefar.evals.recall import Aged


def multiply_adds(call: Callable[[], object]) -> int:
    """Those of all matrix products, half of ``matrix_flops``; an FFT has none."""
    return matrix_flops(call) // 2


def divisions(call: Callable[[], object]) -> int:
    """Numbers that come out of elementwise divisions."""
    with _Divisions() as counter:
        call()
    return counter.count


def timed(calls: Mapping[str, Callable[[int], Callable[[], Any]]]) -> dict[str, Aged]:
    """For ``evals.recall.cost_after``, which takes processor seconds in turns, and asks for bytes held: here none."""

    def held(prepare: Callable[[int], Callable[[], Any]]) -> Aged:
        return lambda length: (prepare(length), 0)

    return {name: held(prepare) for name, prepare in calls.items()}


class _Divisions(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.div, torch.ops.aten.div_, torch.ops.aten.reciprocal):
            self.count += out.numel()
        return out
