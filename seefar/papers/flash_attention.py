"""FlashAttention: exact attention in tiles that never puts the N x N scores into slow memory (Dao et al. 2022).

Attention is slow because its scores travel: they are written to a large memory, read for the softmax, written and read
again. Here a tile of keys meets a tile of queries in fast memory, a running maximum and sum per query let tiles be
added one by one, and the backward computes the scores again instead of keeping them. The result is exact; memory grows
with N instead of N^2, and the numbers moved shrink as the fast memory grows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals import protocols
from seefar.ops.attention import attention
from seefar.ops.attention.traffic import formula, trace
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=67,
    title="FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness",
    arxiv="2205.14135",
    code="Dao-AILab/flash-attention",
    published="on an A100: GPT-2 at 1K tokens trains up to 3x faster; attention's memory is linear in the length and "
    "up to 20x less than that of exact baselines; Theta(N^2 d^2 / M) slow-memory accesses; Path-X 61.4 %",
    holds_when="causal, 4 heads of 64, float32, forward alone and with backward: at 2048 and 4096 tokens the tiled "
    "backend takes at most half the time of the materialised reference and of PyTorch's unfused kernel, and at most "
    "1.3 times that of PyTorch's fused one; the exponent of its peak extra memory, 512 to 4096 tokens, is at most "
    "1.15, and at 4096 it is at least 20x less than the reference's. The published order of tiles, run on a counted "
    "slow memory, moves within 10 % of the formula at every size of the fast one",
    control="the materialised reference must miss the exponent of memory, its traffic the formula",
)
PASSES = ("forward", "forward and backward")
Run = Callable[[Tensor, Tensor, Tensor], Tensor]


def build(*, causal: bool = True, backend: str = "tiled") -> Run:
    """Exact attention of (B, H, N, d) queries, keys and values, tile by tile forward and backward."""
    return partial(attention, causal=causal, backend=backend)


def claim(scale: Scale) -> Verdict:
    """Time and memory of four ways to compute the same thing; then what two schedules move between memories."""
    lengths = scale.pick([32, 64], [512, 1024, 2048, 4096])
    arms = {"tiled": build(), "reference": build(backend="reference")}
    arms |= {"PyTorch unfused": _unfused, "PyTorch fused": build(backend="sdpa")}
    size, passes = scale.pick((2, 8), (4, 64)), scale.pick(PASSES[1:], PASSES)
    costs = {
        name: protocols.cost_sweep(
            {a: partial(_work, arms[a], name, size) for a in arms}, lengths, scale, repeats=scale.pick(1, 5), name=name
        )
        for name in passes
    }
    moved = _traffic(scale)
    off = {a: max(abs(moved[a][at].mean / want.mean - 1) for at, want in moved["formula"].items()) for a in moved}
    slopes = {name: {arm: round(costs[name][1].slope(arm), 4) for arm in arms} for name in passes}
    checks = {f"{name}: {bar}": held for name in passes for bar, held in _bars(*costs[name], lengths).items()}
    checks["traffic of the tiles within 10 % of the formula"] = off["tiles"] <= 0.1
    controls = {f"{name}: memory of the reference": slopes[name]["reference"] > 1.15 for name in passes}
    controls["traffic of the naive schedule"] = off["naive"] > 0.1
    figures = {f"seconds, {name}": costs[name][0].to_json() for name in passes}
    figures |= {f"bytes, {name}": costs[name][1].to_json() for name in passes}
    figures |= {"exponent of memory": slopes, "numbers moved, by size of the fast memory": moved.to_json()}
    note = "measured on a CPU, not on an A100; the training of GPT-2 and Path-X are not repeated"
    return Verdict(figures, checks, controls, note)


def _bars(seconds: protocols.Curves, held: protocols.Curves, lengths: list[int]) -> dict[str, bool]:
    def takes(times: float, other: str) -> bool:
        return all(seconds["tiled"][at].mean <= times * seconds[other][at].mean for at in lengths[-2:])

    return {
        "at most half the time of the reference": takes(0.5, "reference"),
        "at most half the time of PyTorch unfused": takes(0.5, "PyTorch unfused"),
        "at most 1.3 times that of PyTorch fused": takes(1.3, "PyTorch fused"),
        "exponent of memory at most 1.15": held.slope("tiled") <= 1.15,
        "20x less memory": held["reference"][lengths[-1]].mean >= 20 * held["tiled"][lengths[-1]].mean,
    }


def _unfused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(q, k, v, is_causal=True)


def _work(run: Run, name: str, size: tuple[int, int], length: int) -> Callable[[], object]:
    heads, width = size
    q, k, v, do = torch.randn(4, 1, heads, length, width, generator=torch.Generator().manual_seed(length)).unbind()
    if name == "forward":
        return lambda: run(q, k, v)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    return lambda: torch.autograd.grad(run(*leaves), leaves, do)


def _traffic(scale: Scale) -> protocols.Curves:
    """Forward and backward of one head of the medium GPT-2, by how many numbers the fast memory is made for."""
    tokens, width = scale.pick((64, 8), (1024, 64))

    def schedule(name: str, seed: int) -> protocols.Measure:
        inputs = torch.randn(4, 1, 1, tokens, width, generator=torch.Generator().manual_seed(seed)).unbind()
        return lambda on_chip: trace(*inputs, on_chip=on_chip, schedule=name).total

    arms: dict[str, protocols.Arm] = {"tiles": partial(schedule, "fa1"), "naive": partial(schedule, "naive")}
    arms["formula"] = lambda _: lambda on_chip: sum(formula("fa1", tokens, tokens, width, on_chip))
    return protocols.sweep("traffic", arms, scale.pick([256, 512], [4096, 6000, 10000, 16384, 30000]), scale)
