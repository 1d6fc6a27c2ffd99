"""Whole layers beside those of transformers with the same weights: seconds, ratio, fraction of the machine's limit.

Contenders take turns in one process, as in ``race``.

N tokens, D channels, E inner channels, S states, H heads, G groups, K taps of the convolution, R rank of the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seefar.evals.bench_ops import FORWARD_WORK
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
from seefar.mixers.base import Mixer
from seefar.mixers.mamba2 import Mamba2
from seefar.mixers.selective import Mamba
from seefar.ops.ssd.chunked import CHUNK


@dataclass(frozen=True)
class Layer:
    """A layer of transformers and what ours makes of its weights.

    Args:
        dim: D, as published.
        make: D -> the peer, begun at random.
        ours: the peer -> our layer.
        work: N, our layer -> multiply-adds of a forward pass, or instructions as dear as one.
        bar: how many times faster ours is to be.
        forward_only: the peer's backward takes minutes and is left out.
    """

    dim: int
    make: Callable[[int], nn.Module]
    ours: Callable[[nn.Module], Mixer]
    work: Callable[[int, nn.Module], float]
    bar: float
    forward_only: bool = False


def _mamba(dim: int) -> nn.Module:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    return MambaMixer(MambaConfig(hidden_size=dim, num_hidden_layers=1), layer_idx=0)


def _mamba2(dim: int) -> nn.Module:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(hidden_size=dim, num_heads=dim // 32, head_dim=64, n_groups=1, num_hidden_layers=1)
    return Mamba2Mixer(config, layer_idx=0)


def _mamba_work(N: int, layer: nn.Module) -> float:
    """N (2 D E + E (R + 2 S) + R E + E D + K E) and the instructions of the scan."""
    E, S = layer.get_parameter("A_log").shape
    weights = sum(w.numel() for name, w in layer.named_parameters() if name.endswith("weight"))
    return float(N * (weights + FORWARD_WORK * E * S))


def _mamba2_work(N: int, layer: nn.Module) -> float:
    """N (D (2 E + 2 G S + H) + E D + K (E + 2 G S)), and in chunks of c tokens N (c (G S + E) + 2 E S)."""
    assert isinstance(layer, Mamba2)
    E, S, G = len(layer.norm.weight), layer.d_state, layer.groups
    weights = sum(part.weight.numel() for part in (layer.in_proj, layer.out_proj, layer.conv1d))
    return float(N * (weights + CHUNK * (G * S + E) + 2 * E * S))


LAYERS = {
    "Mamba": Layer(192, _mamba, Mamba.from_hf, _mamba_work, bar=15, forward_only=True),
    "Mamba-2": Layer(768, _mamba2, Mamba2.from_hf, _mamba2_work, bar=3),
}
"""Width of ``bench ops`` for Mamba, that of mamba2-130m for Mamba-2: 24 heads of 64 channels, 128 states."""


def run(
    threads: int = 2,
    repeats: int = 3,
    *,
    tokens: int = 4096,
    layers: Mapping[str, Layer] = LAYERS,
    probe: Probe = PROBE,
) -> dict[str, Any]:
    """Times of each layer and its peer over one row in float32, ratios, errors, fractions of the limit, and the bars.

    Args:
        threads: cores that every contender may use.
        repeats: turns of each contender; the median counts.
        tokens: N.
        layers: what is raced.
        probe: what measures the machine.
    """
    if threads < 1 or repeats < 1 or tokens < 1:
        raise ValueError(
            f"bench layers: threads, repeats and tokens must be at least 1, got {threads=}, {repeats=}, {tokens=}"
        )
    with cores(threads):
        started = time.time()
        limits = limits_of(probe)
        parts = {name: _one(layer, tokens, repeats, limits) for name, layer in layers.items()}
        machine = machine_now(threads)
    bars = [
        bar(
            f"{name} layer, forward, times faster than transformers'",
            parts[name]["ratios"]["transformers"]["forward"],
            at_least=layer.bar,
        )
        for name, layer in layers.items()
    ]
    seconds = round(time.time() - started, 1)
    return {"machine": machine, "tokens": tokens, "limits": limits, "layers": parts, "bars": bars, "seconds": seconds}


def _one(layer: Layer, tokens: int, repeats: int, limits: Mapping[str, float]) -> dict[str, Any]:
    torch.manual_seed(0)
    peer = layer.make(layer.dim).eval()
    ours = layer.ours(peer)
    x = torch.randn(1, tokens, layer.dim)
    contenders: dict[str, Contender] = {"seefar": lambda x: ours(x)[0], "transformers": peer}
    times = race(contenders, [x], repeats, forward_only="transformers" if layer.forward_only else "")
    with torch.no_grad():
        wanted = peer(x)
        error = float((ours(x)[0] - wanted).norm() / wanted.norm())
    moved = 4.0 * (2 * x.numel() + sum(w.numel() for w in ours.parameters()))
    limit = against_limit(times["seefar"]["forward"], moved, layer.work(tokens, ours), limits)
    return {"dim": layer.dim, "times": times, "ratios": ratios(times), "relative_difference": error, "limit": limit}


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: a row for each layer."""
    lines = [
        "| layer | width | ours, ms | transformers, ms | faster by | wanted | both ways, faster by | of the limit |",
        "|---|" + "---|" * 7,
    ]
    for (name, part), wanted in zip(result["layers"].items(), result["bars"], strict=True):
        ours, peer = part["times"]["seefar"], part["times"]["transformers"]
        both = f"{part['ratios']['transformers']['both']:.1f}" if "both" in peer else ""
        lines.append(
            f"| {name} | {part['dim']} | {ours['forward'] * 1e3:.0f} | {peer['forward'] * 1e3:.0f} | "
            f"{wanted['value']:.1f} | {wanted['at_least']} | {both} | {part['limit']['fraction']:.2f} |"
        )
    machine = result["machine"]
    return "\n".join([*lines, "", f"{result['tokens']:,} tokens, {machine['cpu']}, {machine['threads']} threads."])
