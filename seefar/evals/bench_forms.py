"""Attention in two forms: where its sums overtake its pairs, and how far both leave softmax behind on long sequences.

Beside ``race``. Crossings are of processor seconds, ratios of wall time.

N tokens, H heads, d width of a head.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.crossover import crossing_of_bytes, crossing_of_seconds, taylor_forms
from seefar.evals.long_attention import Attend, attention_bytes, attention_seconds, expected
from seefar.evals.race import PROBE, Probe, against_limit, bar, bar_rows, cores, limits_of, machine_now
from seefar.mixers.holographic import Holographic
from seefar.mixers.inline import Inline
from seefar.ops.taylor_attention import taylor_attention
from seefar.ops.taylor_attention.switch import fewer_numbers_from, fewer_operations_from


@dataclass(frozen=True)
class FormSizes:
    """What is measured; smaller ones serve to try the benchmark itself.

    Args:
        widths: of the heads whose forms are compared. spread: lengths, over the expected crossing.
        far: tokens at which softmax is left behind. near: lengths at which softmax is measured, to go on from.
        heads: of those. width: of a head there.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    spread: tuple[float, ...] = (0.5, 0.7, 1.0, 1.4, 2.0)
    far: int = 65536
    near: tuple[int, ...] = (4096, 8192, 16384)
    heads: int = 2
    width: int = 64


def run(threads: int = 2, repeats: int = 5, *, sizes: FormSizes = FormSizes(), probe: Probe = PROBE) -> dict[str, Any]:
    """Crossings of TaylorShift's forms, and Hrrformer, InLine and TaylorShift beside PyTorch's fused softmax attention.

    Args:
        threads: cores that every contender may use; crossings are measured on one.
        repeats: of each measurement, of which the least counts.
        sizes: what is measured.
        probe: what measures the machine.
    """
    if threads < 1 or repeats < 1:
        raise ValueError(f"bench forms: threads and repeats must be at least 1, got {threads} and {repeats}")
    started = time.time()
    with cores(1):
        crossings = {str(d): _crossings(d, sizes, repeats) for d in sizes.widths}
    with cores(threads):
        limits = limits_of(probe)
        far = {
            both: _far(sizes, both == "forward and backward", limits) for both in ("forward", "forward and backward")
        }
    bars = [
        bar(
            f"TaylorShift, width {d}, {what} cross over the authors' count",
            crossings[str(d)][what]["over the count"],
            at_least=1 - reach,
            at_most=1 + reach,
        )
        for d in sizes.widths
        for what, reach in (("seconds", 0.2), ("bytes", 0.3))
    ]
    ratio = far["forward and backward"]["times as fast as softmax"]["Hrrformer"]
    named = f"Hrrformer, forward and backward at {sizes.far} tokens, times faster than softmax (extrapolated)"
    bars.append(bar(named, ratio, at_least=10))
    return {
        "machine": machine_now(threads),
        "sizes": {name: list(part) if isinstance(part, tuple) else part for name, part in asdict(sizes).items()},
        "repeats": repeats,
        "limits": limits,
        "crossings": crossings,
        "far": far,
        "bars": bars,
        "seconds": round(time.time() - started, 1),
    }


def _crossings(d: int, sizes: FormSizes, repeats: int) -> dict[str, Any]:
    heads = max(1, 64 // d)
    operations, numbers = fewer_operations_from(d), fewer_numbers_from(d)
    lengths, short = ([round(part * count) for part in sizes.spread] for count in (operations, numbers))
    seconds = crossing_of_seconds(taylor_forms(d, heads), lengths, repeats=repeats)
    once = crossing_of_seconds(taylor_forms(d, heads, cheap="linear"), lengths, repeats=repeats)
    held = crossing_of_bytes(taylor_forms(d, 1, tile=None), short)
    return {
        "seconds": seconds.to_json() | {"over the count": seconds.tokens / operations},
        "seconds, each product made once": once.to_json() | {"over the count": once.tokens / operations},
        "bytes": held.to_json() | {"over the count": held.tokens / numbers},
    }


def _far(sizes: FormSizes, backward: bool, limits: Mapping[str, float]) -> dict[str, Any]:
    """The linear forms at the far length, softmax at the near ones and from there by its own power law."""
    ways: dict[str, Attend] = {
        "Hrrformer": Holographic().linear,
        "InLine": Inline().linear,
        "TaylorShift": partial(taylor_attention, backend="linear"),
        "softmax": scaled_dot_product_attention,
    }
    lengths = {name: list(sizes.near) if name == "softmax" else [sizes.near[0], sizes.far] for name in ways}
    H, N, d = sizes.heads, sizes.far, sizes.width
    seconds = attention_seconds(ways, lengths, heads=H, width=d, backward=backward, clock=time.perf_counter)
    ours = {name: ways[name] for name in ways if name != "softmax"}
    held = attention_bytes(ours, sizes.near, heads=H, width=d, backward=backward)
    # three transforms of d numbers and eight passes over a spectrum; the backward about twice that
    work = H * N * (3 * 2.5 * d * torch.tensor(d).log2().item() + 8 * d) * (3 if backward else 1)
    least = against_limit(seconds["Hrrformer"][N].mean, 4.0 * (10 if backward else 4) * H * N * d, work / 2, limits)
    return {
        "seconds": seconds.to_json(),
        "bytes": held.to_json(),
        "power of seconds in tokens": {name: seconds.slope(name) for name in ways},
        "power of bytes in tokens": {name: held.slope(name) for name in held},
        "times as fast as softmax": {name: expected(seconds, "softmax", N) / seconds[name][N].mean for name in ours},
        "limit of Hrrformer": least,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: bars, crossings, and what is left of softmax."""
    lines = [
        *bar_rows(result["bars"]),
        "",
        "| TaylorShift, width | sums overtake pairs from, by | tokens | over the authors' count |",
    ]
    lines.append("|---|---|---|---|")
    for d, part in result["crossings"].items():
        for what, found in part.items():
            lines.append(f"| {d} | {what} | {found['tokens']:.0f} | {found['over the count']:.2f} |")
    far = result["sizes"]["far"]
    lines += ["", f"| at {far:,} tokens | pass | seconds | times as fast as softmax |", "|---|---|---|---|"]
    for passes, part in result["far"].items():
        for name, ratio in part["times as fast as softmax"].items():
            lines.append(f"| {name} | {passes} | {part['seconds'][name][str(far)]['mean']:.2f} | {ratio:.1f} |")
    machine = result["machine"]
    near = max(result["sizes"]["near"])
    lines += [
        "",
        f"Softmax measured up to {near:,} tokens, then by its power law. {machine['cpu']}, {machine['threads']} ",
    ]
    lines[-1] += f"threads, torch {machine['torch']}, {machine['date']}."
    return "\n".join(lines)
