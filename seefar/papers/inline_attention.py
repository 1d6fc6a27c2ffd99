"""InLine attention: what linear attention lacks beside softmax, and what gives it back (Han et al. 2024).

Linear attention divides by the sum of its scores, so a query and its double see the same: the map from queries to
weights is not injective. Subtracting the mean score instead keeps sums of one and tells all queries apart. And linear
attention looks about evenly, where softmax looks nearby: a small filter, read off each picture's mean, adds that.

Queries collide as proved, the cost is as claimed, and the filter gains more than softmax has. That the mean taken away
gains accuracy does not show: ReLU linear attention without either does as well as softmax, so the control fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from seefar.analysis.collisions import doubles_collide
from seefar.backbones.plain import Plain
from seefar.embed.patch import Patches
from seefar.evals.digit_pictures import digits_by_pixel
from seefar.evals.long_attention import Attend, attention_seconds
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.inline import Inline
from seefar.mixers.linear import NormalizedLinear
from seefar.mixers.predicted_filter import PredictedFilter
from seefar.mixers.softmax import Attention
from seefar.mixers.two_form import Score, TwoFormAttention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=121,
    title="Bridging the Divide: Reconsidering Softmax and Linear Attention",
    arxiv="2412.06590",
    code="LeapLabTHU/InLine",
    published="linear attention with both properties outperforms softmax attention on ImageNet at a lower cost",
    holds_when="real digits of 8 x 8 pixels, moved by up to 2, each pixel a token, one layer of 32 channels, 1000 "
    "steps of 32, held-out digits named: InLine with its filter at most 1 point fewer than softmax; ReLU linear "
    "attention without filter at least 3 points fewer than softmax; InLine with its filter loses at least 1.5 points "
    "without the filter, and as much with ReLU linear attention in its place. One head of 64 at 4096 tokens, forward: "
    "at most a fifth of the seconds of the processor that PyTorch's fused softmax attention takes",
    control="ReLU linear attention gives each of 256 random queries and its double the same weights, InLine no two of "
    "them; ReLU linear attention without filter must miss the first bar",
)
Make = Callable[[int, int, tuple[int, int]], Mixer]


def build(
    dim: int = 192,
    depth: int = 12,
    heads: int = 6,
    *,
    grid: tuple[int, int] = (14, 14),
    patch: int = 16,
    channels: int = 3,
    classes: int = 1000,
    cls: str = "first",
) -> Plain:
    """InLine-DeiT-T, with a class token that the filters leave out."""
    front = 0 if cls == "none" else 1
    column = _blocks(dim, depth, heads, grid, partial(_linear, Inline, True, front=front), 4.0)
    return Plain(Patches(dim, patch, channels), column, grid=grid, cls=cls, classes=classes)


def _blocks(dim: int, depth: int, heads: int, grid: tuple[int, int], make: Make, ratio: float) -> Stack:
    return Stack([Block(dim, make(dim, heads, grid), mlp_ratio=ratio, norm=nn.LayerNorm) for _ in range(depth)])


def _linear(
    score: Callable[[], Score], local: bool, dim: int, heads: int, grid: tuple[int, int], front: int = 0
) -> Mixer:
    near = PredictedFilter(dim, heads, grid, front=front) if local else None
    return TwoFormAttention(dim, heads, score(), local=near, bias=True, out_bias=True)


def claim(scale: Scale) -> Verdict:
    """Digits by five attentions; seconds of two; queries that collide."""
    makes: dict[str, Make] = {
        "softmax": lambda dim, heads, grid: Attention(dim, heads, causal=False, bias=True),
        "InLine and filter": partial(_linear, Inline, True),
        "InLine": partial(_linear, Inline, False),
        "ReLU linear and filter": partial(_linear, NormalizedLinear, True),
        "ReLU linear": partial(_linear, NormalizedLinear, False),
    }
    dim = scale.pick(4, 32)
    columns = {name: partial(_blocks, dim, 1, 2, (8, 8), make, 2.0) for name, make in makes.items()}
    share = digits_by_pixel(columns, scale, dim=dim, steps=scale.pick(2, 1000), batch=scale.pick(4, 32))
    softmax, whole, bare, relu_near, relu = (share[name]["accuracy"].mean for name in columns)
    ways: dict[str, Attend] = {"InLine": Inline().linear, "softmax": scaled_dot_product_attention}
    far = scale.pick(128, 4096)
    seconds = attention_seconds(ways, {name: [far] for name in ways}, backward=False, repeats=scale.pick(1, 5))
    faster = seconds["softmax"][far].mean / seconds["InLine"][far].mean
    same = {"InLine": doubles_collide(Inline()), "ReLU linear": doubles_collide(NormalizedLinear())}
    return Verdict(
        figures={
            "share of digits named": share.to_json(),
            "seconds, forward": seconds.to_json(),
            f"times as fast as softmax at {far} tokens": faster,
            "share of queries that get the weights of their doubles": same,
        },
        checks={
            "at most 1 point below softmax": whole >= softmax - 0.01,
            "ReLU linear: 3 points below softmax": relu <= softmax - 0.03,
            "the filter gives 1.5 points": whole - bare >= 0.015,
            "the mean taken away gives 1.5 points": whole - relu_near >= 0.015,
            "five times as fast": faster >= 5,
        },
        controls={
            "ReLU linear gives doubles the same weights, InLine none": same == {"InLine": 0.0, "ReLU linear": 1.0},
            "ReLU linear: over 1 point below softmax": relu < softmax - 0.01,
        },
        note="the first task, digits of 16 patches, needed no attention and was replaced before this run",
    )
