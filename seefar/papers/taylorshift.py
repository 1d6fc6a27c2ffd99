"""TaylorShift: attention by a parabola in place of an exponential, by pairs or by sums (Nauen et al. 2024).

The Taylor polynomial of second order factorises: each product of two numbers of a key is summed over all keys once, and
every query reads from the sums: d^3 numbers a head and no pairs, so it is cheaper beyond d^2 tokens. Costs cross about
where the authors count, seconds somewhat earlier. Accuracy lies well above that of a mean of the values, and within
what seeds differ by of softmax, though not within the bar.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from seefar.backbones.plain import Plain
from seefar.embed.patch import Patches
from seefar.evals.crossover import crossing_of_bytes, crossing_of_seconds, taylor_forms
from seefar.evals.digit_pictures import digits_by_pixel
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.softmax import Attention
from seefar.mixers.taylor import Taylor
from seefar.mixers.two_form import TwoFormAttention
from seefar.ops.taylor_attention import Parabola
from seefar.ops.taylor_attention.switch import fewer_numbers_from, fewer_operations_from
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=72,
    title="TaylorShift: Shifting the Complexity of Self-Attention from Squared to Linear (and Back)",
    arxiv="2403.02920",
    code="tobna/TaylorShift",
    published="less memory from about 800 tokens on, faster from about 1700 on, no loss of accuracy",
    holds_when="heads of width 32 and 64, forward, float32: the sums that the authors count take fewer seconds of the "
    "processor than our own pairs from a length on that is within 20 % of d^2 + d + 3/4, and hold fewer bytes, both "
    "without tiles, from one within 30 % of d^2 / 2 + 2 d + 1/2; with each product made once, as the mixer does, no "
    "later. Real digits of 8 x 8 pixels, moved by up to 2, each pixel a token, one layer of 32 channels, 1000 "
    "steps of 32: at most 2 points fewer held-out digits named than with softmax",
    control="the constant term alone, a mean of the values, must miss the bar of accuracy; pairs must not be linear: "
    "their seconds grow with the tokens to the power 1.6 at least",
)
CONSTANT = Parabola(1e-6, 0.0, 1.0)


def build(
    dim: int = 192,
    depth: int = 12,
    heads: int = 3,
    *,
    grid: tuple[int, int] = (14, 14),
    patch: int = 16,
    channels: int = 3,
    classes: int = 1000,
) -> Plain:
    """A ViT with TaylorShift for its attention."""
    column = _blocks(dim, depth, partial(_taylor, dim, heads), 4.0)
    return Plain(Patches(dim, patch, channels), column, grid=grid, cls="none", classes=classes)


def _blocks(dim: int, depth: int, make: Callable[[], Mixer], ratio: float) -> Stack:
    return Stack([Block(dim, make(), mlp_ratio=ratio, norm=nn.LayerNorm) for _ in range(depth)])


def _taylor(dim: int, heads: int, parabola: Parabola | None = None) -> Mixer:
    return TwoFormAttention(dim, heads, Taylor(heads, parabola=parabola), bias=True, out_bias=True)


def claim(scale: Scale) -> Verdict:
    """Where the two forms cross, in seconds and in bytes; then digits by three attentions."""
    widths = scale.pick((4, 6), (32, 64))
    repeats = scale.pick(1, 5)
    spread = scale.pick((1.0, 64.0), (0.5, 0.7, 1.0, 1.4, 2.0))
    lengths = {d: [round(part * fewer_operations_from(d)) for part in spread] for d in widths}
    short = {d: [round(part * fewer_numbers_from(d)) for part in spread] for d in widths}
    counted, folded = (
        {d: crossing_of_seconds(taylor_forms(d, 64 // d, cheap=form), lengths[d], repeats=repeats) for d in widths}
        for form in ("outer", "linear")
    )
    held = {d: crossing_of_bytes(taylor_forms(d, 1, tile=None), short[d]) for d in widths}
    near = {d: counted[d].tokens / fewer_operations_from(d) for d in widths}
    near_bytes = {d: held[d].tokens / fewer_numbers_from(d) for d in widths}
    dim = scale.pick(4, 32)
    attentions: dict[str, Callable[[], Mixer]] = {
        "softmax": partial(Attention, dim, 2, causal=False, bias=True),
        "TaylorShift": partial(_taylor, dim, 2),
        "constant term alone": partial(_taylor, dim, 2, CONSTANT),
    }
    columns = {name: partial(_blocks, dim, 1, make, 2.0) for name, make in attentions.items()}
    share = digits_by_pixel(columns, scale, dim=dim, steps=scale.pick(2, 1000), batch=scale.pick(4, 32))
    softmax, taylor, constant = (share[name]["accuracy"].mean for name in columns)
    power = counted[widths[-1]].power("direct")
    return Verdict(
        figures={
            "tokens from which sums take fewer seconds, over d^2 + d + 3/4, by width": near,
            "the same with each product made once": {d: folded[d].tokens / fewer_operations_from(d) for d in widths},
            "tokens from which sums hold fewer bytes, over d^2 / 2 + 2 d + 1/2": near_bytes,
            "seconds, by width": {d: found.to_json() for d, found in counted.items()},
            "seconds with each product made once": {d: found.to_json() for d, found in folded.items()},
            "bytes, by width": {d: found.to_json() for d, found in held.items()},
            "power of the seconds of pairs in tokens": power,
            "share of digits named": share.to_json(),
        },
        checks={
            "seconds cross within 20 % of the count": all(0.8 <= ratio <= 1.2 for ratio in near.values()),
            "bytes cross within 30 % of the count": all(0.7 <= ratio <= 1.3 for ratio in near_bytes.values()),
            "no later with each product made once": all(folded[d].tokens <= counted[d].tokens for d in widths),
            "at most 2 points below softmax": taylor >= softmax - 0.02,
        },
        controls={
            "the constant term alone: over 2 points below softmax": constant < softmax - 0.02,
            "pairs are not linear": power >= 1.6,
        },
        note="the count is the authors', for all (d + 1)^2 products; symmetry halves them, which they leave out. "
        "The first task of accuracy, digits of 16 patches, needed no attention and was replaced before this run",
    )
