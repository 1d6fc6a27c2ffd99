"""Causal convolutions as memories: the fused dilated op beside torch's convolutions and beside the Fourier transform.

Contenders take turns in one process, as in ``race``.

N tokens, D channels, J levels, K taps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seefar.evals.level_by_level import level_by_level
from seefar.evals.race import (
    PROBE,
    Contender,
    Probe,
    against_limit,
    bar,
    cores,
    limits_of,
    machine_now,
    race,
    ratios,
)
from seefar.mixers.dilated import dilations
from seefar.mixers.ema import EMA
from seefar.ops.dilated_conv import dilated_conv
from seefar.ops.long_conv import long_conv


@dataclass(frozen=True)
class Cascade:
    """A stack of dilated convolutions that covers all tokens.

    Args:
        channels: D. kernel: K. factor: between dilations. reads: every level, not the last alone.
        peer: the contender that the bar is about. at_least: how many times faster ours is to be, forward.
    """

    channels: int
    kernel: int
    factor: int
    reads: bool
    peer: str
    at_least: float


FOURIER = "Mega's averages: kernel and FFT"
PLAIN = "torch conv1d, level by level"
CASCADES = {
    "multiresolution": Cascade(256, 2, 2, reads=True, peer=PLAIN, at_least=3),
    "temporal convolutions": Cascade(128, 17, 4, reads=False, peer=FOURIER, at_least=5),
}
"""As in the claims of arXiv 2305.01638 and 2312.05605."""


def run(
    threads: int = 2,
    repeats: int = 3,
    *,
    tokens: int = 8192,
    cascades: Mapping[str, Cascade] = CASCADES,
    probe: Probe = PROBE,
) -> dict[str, Any]:
    """Times of each cascade and its peers over one row in float32, ratios, fractions of the limit, and the bars.

    Args:
        threads: cores that every contender may use.
        repeats: turns of each contender; the median counts.
        tokens: N.
        cascades: what is raced.
        probe: what measures the machine.
    """
    if threads < 1 or repeats < 1 or tokens < 2:
        raise ValueError(
            f"bench convs: threads and repeats must be at least 1 and tokens 2, got {threads=}, {repeats=}, {tokens=}"
        )
    started = time.time()
    with cores(threads):
        limits = limits_of(probe)
        parts = {name: _one(cascade, tokens, repeats, limits) for name, cascade in cascades.items()}
        machine = machine_now(threads)
    bars = []
    for name, cascade in cascades.items():
        value = parts[name]["ratios"][cascade.peer]["forward"]
        bars.append(bar(f"{name}, forward, times faster than {cascade.peer}", value, at_least=cascade.at_least))
    seconds = round(time.time() - started, 1)
    return {"machine": machine, "tokens": tokens, "limits": limits, "cascades": parts, "bars": bars, "seconds": seconds}


def _one(cascade: Cascade, N: int, repeats: int, limits: Mapping[str, float]) -> dict[str, Any]:
    torch.manual_seed(0)
    D, K = cascade.channels, cascade.kernel
    apart = dilations(K, cascade.factor, N)
    x, low, high = torch.randn(1, N, D), *(torch.randn(2, len(apart), K, D) / K)
    inputs = [x, low, high, torch.randn(D)] if cascade.reads else [x, low]
    averages = EMA(D, states=16)

    def plain(x: Tensor, low: Tensor, high: Tensor | None = None, tail: Tensor | None = None) -> Tensor:
        return level_by_level(x.mT, low, high, tail, dilations=apart).mT

    contenders: dict[str, Contender] = {
        "seefar": lambda *given: dilated_conv(*given, dilations=apart)[0],
        "seefar without numba": lambda *given: dilated_conv(*given, dilations=apart, backend="shifted")[0],
        PLAIN: plain,
        FOURIER: lambda x, *_: long_conv(x, averages.kernel(N).mT) + averages.omega * x,
        "Mega's averages: blocks and a scan": lambda x, *_: averages(x)[0],
    }
    times = race(contenders, inputs, repeats)
    # x and y, and the past that a stream would go on from; its gradients are not asked for
    past = (K - 1) * sum(apart)
    moved, products = 4.0 * D * (2 * N + past), float(N * D * K * len(apart) * (2 if cascade.reads else 1))
    return {
        "channels": D,
        "taps": K,
        "levels": len(apart),
        "times": times,
        "ratios": ratios(times),
        "limit": {
            "forward": against_limit(times["seefar"]["forward"], moved, products, limits),
            "both": against_limit(times["seefar"]["both"], moved + 12.0 * D * N, 4 * products, limits),
        },
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: a row for each contender, then the bars."""
    lines = ["| convolutions | contender | forward ms | both ways ms | ours is faster by, forward and both ways |"]
    lines.append("|---|---|---|---|---|")
    for name, part in result["cascades"].items():
        for contender, each in part["times"].items():
            ratio = part["ratios"].get(contender)
            faster = f"{ratio['forward']:.1f}, {ratio['both']:.1f}" if ratio else ""
            both = f"{each['both'] * 1e3:.0f}"
            lines.append(f"| {name} | {contender} | {each['forward'] * 1e3:.0f} | {both} | {faster} |")
    lines += ["", "| bar | measured | wanted | holds | ours, of the machine's limit |", "|---|---|---|---|---|"]
    for part, wanted in zip(result["cascades"].values(), result["bars"], strict=True):
        holds, limit = "yes" if wanted["holds"] else "no", part["limit"]["forward"]
        share = f"{limit['fraction']:.2f} of {limit['binding']}"
        lines.append(f"| {wanted['name']} | {wanted['value']:.1f} | {wanted['at_least']} | {holds} | {share} |")
    machine = result["machine"]
    return "\n".join([*lines, "", f"{result['tokens']:,} tokens, {machine['cpu']}, {machine['threads']} threads."])
