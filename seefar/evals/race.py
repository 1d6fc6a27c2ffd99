"""Contenders that take turns in one process, and the machine's limits that they run against.

A busy machine slows all contenders alike; what counts are the ratios of medians. The limits are measured too: bytes
over the bandwidth of a copy, arithmetic over the rate of a large matrix product. The bound that takes longer binds.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Contender = Callable[..., Tensor]


@dataclass(frozen=True)
class Probe:
    """What measures the machine: a copy of so many MiB, and a product of square matrices of such a side."""

    copy_mib: int = 256
    product: int = 2048


PROBE = Probe()


@contextmanager
def cores(threads: int) -> Iterator[None]:
    """So many threads of torch inside, as many as before behind."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bar(name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """A figure beside what it is to reach, as it stands in a result."""
    holds = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    ends = {"at_least": at_least, "at_most": at_most}
    return {"name": name, "value": value} | {k: v for k, v in ends.items() if v is not None} | {"holds": holds}


def bar_rows(bars: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table, a row for each bar."""
    lines = ["| bar | measured | wanted | holds |", "|---|---|---|---|"]
    for each in bars:
        if "at_least" in each and "at_most" in each:
            wanted = f"{each['at_least']:g} to {each['at_most']:g}"
        else:
            wanted = f"at least {each['at_least']}" if "at_least" in each else f"at most {each['at_most']}"
        lines.append(f"| {each['name']} | {each['value']:.3g} | {wanted} | {'yes' if each['holds'] else 'no'} |")
    return lines


def machine_now(threads: int) -> dict[str, Any]:
    """What was measured on: processor, threads, load, versions, date."""
    listing = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", listing.read_text()) if listing.exists() else None
    return {
        "cpu": named[1] if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": [round(x, 2) for x in os.getloadavg()],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def limits_of(probe: Probe) -> dict[str, float]:
    """Bytes a second of a copy (read plus write) and floating operations a second of a float32 matrix product."""
    source = torch.ones(probe.copy_mib * 2**18)
    target = torch.empty_like(source).copy_(source)
    square = torch.randn(probe.product, probe.product)
    copy = min(_seconds(lambda: target.copy_(source)) for _ in range(5))
    product = min(_seconds(lambda: square @ square) for _ in range(5))
    return {"copy_bytes": 2 * 4 * source.numel() / copy, "flops": 2 * probe.product**3 / product}


def against_limit(seconds: float, moved_bytes: float, operations: float, limits: Mapping[str, float]) -> dict[str, Any]:
    """Which bound binds, and what share of it a measured time reaches.

    Args:
        seconds: measured.
        moved_bytes: that must be read and written at least.
        operations: fused multiply-adds, or instructions as dear as one.
        limits: of the machine.
    """
    bounds = {"bytes": moved_bytes / limits["copy_bytes"], "arithmetic": 2 * operations / limits["flops"]}
    binding = max(bounds, key=lambda name: bounds[name])
    return {
        "bytes": moved_bytes,
        "operations": operations,
        "bytes_bound_seconds": bounds["bytes"],
        "arithmetic_bound_seconds": bounds["arithmetic"],
        "binding": binding,
        "bound_seconds": bounds[binding],
        "fraction": bounds[binding] / seconds,
    }


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def race(
    contenders: Mapping[str, Contender], inputs: Sequence[Tensor], repeats: int, forward_only: str = ""
) -> dict[str, dict[str, float]]:
    """Median seconds of each contender, forward and (but for one) forward plus backward, taking turns."""

    def forward(contender: Contender) -> None:
        with torch.no_grad():
            contender(*inputs)

    def both(contender: Contender) -> None:
        leaves = [value.detach().requires_grad_() for value in inputs]
        out = contender(*leaves)
        out.backward(torch.ones_like(out))

    turns: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    for turn in range(repeats + 1):
        for name, contender in contenders.items():
            for key, action in {"forward": forward, "both": both}.items():
                if key == "both" and name == forward_only:
                    continue
                start = time.perf_counter()
                action(contender)
                if turn > 0:  # the first turn compiles and warms up
                    turns[name].setdefault(key, []).append(time.perf_counter() - start)
    return {name: {key: statistics.median(values) for key, values in each.items()} for name, each in turns.items()}


def ratios(times: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """How many times as long every other contender takes."""
    ours = times["seefar"]
    return {
        n: {key: each[key] / ours[key] for key in each if key in ours} for n, each in times.items() if n != "seefar"
    }
