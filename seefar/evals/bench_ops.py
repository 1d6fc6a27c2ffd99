"""How fast the ops are beside their peers, and how near to what this machine can do at all.

Everything is timed in one process, contenders taking turns, so that a busy machine slows all of them alike; what counts
are the ratios of medians. Memory is measured in a fresh process for each contender: the highest resident size between
the moment the inputs exist and the end of the backward, less the size at that moment, so saved states count as well.

The machine's limit is measured too: bytes over the bandwidth of a copy, arithmetic over the rate of a large matrix
product. The bound that takes longer is the binding one.

Bt batch, N tokens, D channels, S states, H heads, d width of a head.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu, softplus

from seefar.evals.race import (
    PROBE,
    Contender,
    Probe,
    against_limit,
    bar,
    bar_rows,
    cores,
    limits_of,
    machine_now,
    race,
    ratios,
)
from seefar.ops.attention import attention
from seefar.ops.linear_scan import linear_scan
from seefar.ops.selective_scan import selective_scan
from seefar.vlm.answer import peak_bytes

# Vector instructions for each (token, channel, state), counted from the kernels: the forward needs 11 for the power of
# two and 7 around it; the backward runs the forward again without its readout and adds 8.
FORWARD_WORK, BACKWARD_WORK = 18, 25


@dataclass(frozen=True)
class Sizes:
    """What is measured, one row a batch in float32; smaller ones serve to try the benchmark itself."""

    tokens: int = 4096
    channels: int = 384
    states: int = 16
    scan_channels: int = 1536
    attention_tokens: tuple[int, ...] = (1024, 4096)
    heads: int = 8
    head_width: int = 64
    window: int = 256
    probe: Probe = PROBE


FULL = Sizes()


def run(threads: int = 2, repeats: int = 5, *, sizes: Sizes = FULL) -> dict[str, Any]:
    """Times, memory, errors and the fraction of the machine's limit, as one JSON-able object with its bars.

    Args:
        threads: cores that every contender may use.
        repeats: turns of each contender; the median counts.
        sizes: what is measured.

    Raises:
        ImportError: mambapy, one of the peers, is not installed.
    """
    if threads < 1 or repeats < 1:
        raise ValueError(f"bench ops: threads and repeats must be at least 1, got {threads} and {repeats}")
    with cores(threads):
        started = time.time()
        limits = limits_of(sizes.probe)
        result: dict[str, Any] = {
            "machine": machine_now(threads),
            "sizes": asdict(sizes) | {"attention_tokens": list(sizes.attention_tokens)},
            "repeats": repeats,
            "limits": limits,
            "selective_scan": _selective_scan(sizes, repeats, threads, limits),
            "linear_scan": _linear_scan(sizes, repeats, limits),
            "attention": [_attention(sizes, N, repeats, limits) for N in sizes.attention_tokens],
        }
    result["bars"] = _bars(result["selective_scan"])
    result["seconds"] = round(time.time() - started, 1)
    return result


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: bars first, then every time and ratio."""
    lines = [
        *bar_rows(result["bars"]),
        "",
        "| op | contender | forward ms | forward + backward ms | ours is faster by |",
        "|---|---|---|---|---|",
    ]
    groups = [("selective_scan", result["selective_scan"]), ("linear_scan", result["linear_scan"])]
    groups += [(f"attention N={part['tokens']} {part['rules']}", part) for one in result["attention"] for part in one]
    for op, part in groups:
        for name, times in part["times"].items():
            cells = [f"{times[key] * 1e3:.1f}" if key in times else "" for key in ("forward", "both")]
            ratios = part["ratios"].get(name, {})
            faster = ", ".join(f"{value:.3g} ({key})" for key, value in ratios.items())
            lines.append(f"| {op} | {name} | {cells[0]} | {cells[1]} | {faster} |")
    lines += ["", "| op | pass | bound | by | fraction of the machine's limit |", "|---|---|---|---|---|"]
    for op, part in groups:
        for key, limit in part["limit"].items():
            bound = f"{limit['bound_seconds'] * 1e3:.2f} ms"
            lines.append(f"| {op} | {key} | {bound} | {limit['binding']} | {limit['fraction']:.2f} |")
    machine = result["machine"]
    lines += ["", f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, {machine['date']}."]
    return "\n".join(lines)


def _scan_inputs(sizes: Sizes) -> list[Tensor]:
    """u, dt, A, B, C, D as Mamba is initialised: A = -1 ... -S, steps between 0.001 and 0.1."""
    generator = torch.Generator().manual_seed(0)
    N, D, S = sizes.tokens, sizes.channels, sizes.states
    u, step = (torch.randn(1, N, D, generator=generator) for _ in range(2))
    B, C = (torch.randn(1, N, S, generator=generator) for _ in range(2))
    return [u, 0.01 * step.exp(), -torch.arange(1.0, S + 1).repeat(D, 1), B, C, torch.ones(D)]


def _ours(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return selective_scan(u, dt, A, B, C, D)[0]


def _mambapy(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    try:
        from mambapy.mamba import MambaBlock
    except ImportError as error:
        raise ImportError("bench ops compares with mambapy: pip install mambapy") from error
    y: Tensor = MambaBlock.selective_scan(None, u, dt, A, B, C, D)
    return y


def _transformers(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    y: Tensor = mamba_selective_scan(u.mT, dt.mT, A, B.mT, C.mT, D=D)
    return y.mT


def _mixers(sizes: Sizes) -> dict[str, Contender]:
    """The whole layer of transformers, and the same weights around our scan."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    config = MambaConfig(hidden_size=sizes.channels // 2, state_size=sizes.states, num_hidden_layers=1)
    mixer = MambaMixer(config, layer_idx=0).eval()
    split = [config.time_step_rank, sizes.states, sizes.states]

    def ours(x: Tensor) -> Tensor:
        u, z = mixer.in_proj(x).chunk(2, -1)
        u = silu(mixer.conv1d(u.mT)[..., : x.shape[1]]).mT
        low, B, C = mixer.x_proj(u).split(split, -1)
        y, _ = selective_scan(u, softplus(mixer.dt_proj(low)), -mixer.A_log.exp(), B, C, mixer.D, z)
        return mixer.out_proj(y)

    return {"seefar": ours, "transformers Mamba mixer": mixer}


def _selective_scan(sizes: Sizes, repeats: int, threads: int, limits: Mapping[str, float]) -> dict[str, Any]:
    inputs = _scan_inputs(sizes)
    contenders = {"seefar": _ours, "mambapy parallel scan": _mambapy, "transformers scan": _transformers}
    # The backward of a slice fills a whole tensor with zeros: transformers' loop would do so 8192 times, for minutes.
    times = race(contenders, inputs, repeats, forward_only="transformers scan")
    x = torch.randn(1, sizes.tokens, sizes.channels // 2, generator=torch.Generator().manual_seed(1))
    whole = race(_mixers(sizes), [x], max(1, repeats // 2), forward_only="transformers Mamba mixer")
    peaks = {name: _peak_in_new_process(name, sizes, threads) for name in ("seefar", "mambapy parallel scan")}
    N, D, S = sizes.tokens, sizes.channels, sizes.states
    forward_bytes = 4.0 * (3 * N * D + 2 * N * S)
    both_bytes = 2 * forward_bytes + 4.0 * (3 * N * D + 2 * N * S)
    work = float(N * D * S)
    return {
        "times": times,
        "ratios": ratios(times),
        "whole_mixer": {"times": whole, "ratios": ratios(whole)},
        "peak_bytes": {name: peak["bytes"] for name, peak in peaks.items()},
        "peak_how": peaks["seefar"]["how"],
        "relative_error": _errors(inputs),
        "limit": {
            "forward": against_limit(times["seefar"]["forward"], forward_bytes, FORWARD_WORK * work, limits),
            "both": against_limit(times["seefar"]["both"], both_bytes, (FORWARD_WORK + BACKWARD_WORK) * work, limits),
        },
    }


def _errors(inputs: Sequence[Tensor]) -> dict[str, float]:
    """|got - want| / |want| of the float32 output, last state and gradients against the float64 reference loop."""
    found = []
    for dtype, backend in ((torch.float32, None), (torch.float64, "reference")):
        leaves = [value.to(dtype).requires_grad_() for value in inputs]
        y, h_last = selective_scan(*leaves, backend=backend)
        weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y).to(dtype)
        found.append([y.detach(), h_last.detach(), *torch.autograd.grad((y * weight).sum(), leaves)])
    names = ["y", "h_last", "du", "ddt", "dA", "dB", "dC", "dD"]
    pairs = zip(names, *found, strict=True)
    return {name: float((got.double() - want).norm() / want.norm()) for name, got, want in pairs}


def _peak_in_new_process(name: str, sizes: Sizes, threads: int) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, name, sizes, threads).result()


def _peak(name: str, sizes: Sizes, threads: int) -> dict[str, Any]:
    """Highest resident size of one forward and backward above that of its inputs, in this process."""
    torch.set_num_threads(threads)
    contender = {"seefar": _ours, "mambapy parallel scan": _mambapy}[name]
    race({name: contender}, _scan_inputs(Sizes(tokens=64, channels=64, states=sizes.states)), 1)  # loads and compiles
    leaves = [value.requires_grad_() for value in _scan_inputs(sizes)]
    weight = torch.ones_like(leaves[0])
    how = "VmHWM of a new process, reset once the inputs exist"
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        how = "highest resident size that a new process ever had, less the same before the pass"
    before = peak_bytes()
    contender(*leaves).backward(weight)
    return {"bytes": max(1, peak_bytes() - before), "how": how}  # a toy size fits in pages that were there


def _linear_scan(sizes: Sizes, repeats: int, limits: Mapping[str, float]) -> dict[str, Any]:
    def mambapy(a: Tensor, b: Tensor) -> Tensor:
        from mambapy.pscan import pscan

        h: Tensor = pscan(a[..., None], b[..., None])[..., 0]
        return h

    N, D = sizes.tokens, sizes.scan_channels
    generator = torch.Generator().manual_seed(2)
    inputs = [torch.rand(1, N, D, generator=generator), torch.randn(1, N, D, generator=generator)]
    contenders: dict[str, Contender] = {
        "seefar": linear_scan,
        "seefar without numba": lambda a, b: linear_scan(a, b, backend="blocked"),
        "mambapy parallel scan": mambapy,
    }
    times = race(contenders, inputs, repeats)
    numbers = float(N * D)
    return {
        "times": times,
        "ratios": ratios(times),
        "limit": {
            "forward": against_limit(times["seefar"]["forward"], 4 * 3 * numbers, numbers, limits),
            "both": against_limit(times["seefar"]["both"], 4 * (3 + 5) * numbers, 3 * numbers, limits),
        },
    }


def _attention(sizes: Sizes, N: int, repeats: int, limits: Mapping[str, float]) -> list[dict[str, Any]]:
    H, d = sizes.heads, sizes.head_width
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(1, H, N, d, generator=generator) for _ in range(3)]
    distance = torch.arange(N)[:, None] - torch.arange(N)
    near = (distance >= 0) & (distance < sizes.window)
    pairs = {"causal": N * (N + 1) / 2, f"window {sizes.window}": float(near.sum())}
    parts = []
    for rules, seen in pairs.items():
        window = None if rules == "causal" else sizes.window
        mask = None if rules == "causal" else near
        contenders: dict[str, Contender] = {
            "seefar": lambda q, k, v, w=window: attention(q, k, v, causal=True, window=w),
            "seefar tiled": lambda q, k, v, w=window: attention(q, k, v, causal=True, window=w, backend="tiled"),
            "torch SDPA": lambda q, k, v, m=mask: scaled_dot_product_attention(
                q, k, v, attn_mask=m, is_causal=m is None
            ),
        }
        times = race(contenders, inputs, repeats)
        products = H * seen * d  # multiply-adds of one product over the pairs that meet; 2 forward, 5 backward
        tensors = 4.0 * H * N * d
        parts.append(
            {
                "tokens": N,
                "rules": rules,
                "times": times,
                "ratios": ratios(times),
                "limit": {
                    "forward": against_limit(times["seefar"]["forward"], 4 * tensors, 2 * products, limits),
                    "both": against_limit(times["seefar"]["both"], 12 * tensors, 7 * products, limits),
                },
            }
        )
    return parts


def _bars(scan: Mapping[str, Any]) -> list[dict[str, Any]]:
    mambapy, other = scan["ratios"]["mambapy parallel scan"], scan["ratios"]["transformers scan"]
    memory = scan["peak_bytes"]["seefar"] / scan["peak_bytes"]["mambapy parallel scan"]
    at_least = [
        ("selective scan, forward, times faster than mambapy", mambapy["forward"], 15),
        ("selective scan, forward, times faster than the scan in transformers' Mamba mixer", other["forward"], 20),
        ("selective scan, forward and backward, times faster than mambapy", mambapy["both"], 12),
    ]
    at_most = [
        ("selective scan, peak memory of the backward, part of mambapy's", memory, 0.25),
        ("selective scan, largest relative error against float64", max(scan["relative_error"].values()), 1e-5),
    ]
    least = [bar(name, value, at_least=wanted) for name, value, wanted in at_least]
    return least + [bar(name, value, at_most=wanted) for name, value, wanted in at_most]
