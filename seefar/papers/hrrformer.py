"""Hrrformer: attention whose pairs of key and value lie in one vector (Alam et al. 2023).

Circular convolution binds a key to its value, a sum keeps all bindings, and a query undoes its own. What comes back is
mostly noise, but how well it agrees with a token's value tells how much of that value to keep. Nothing meets in pairs,
so time and memory grow with the tokens alone. The paper undoes by the exact inverse; the package that its code runs
with, by the involution, which is what stands here unless asked otherwise.

Speed and memory are as claimed. Digits that move it names more often than a layer without attention, and less often
than softmax, we think since no value goes from one token to another: all that a token learns of others is its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from seefar.backbones.sequence import SequenceModel
from seefar.evals.digit_pictures import digits_by_pixel
from seefar.evals.long_attention import Attend, attention_bytes, attention_seconds, expected
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.holographic import Holographic, Inverse, involution
from seefar.mixers.pattern import MLP
from seefar.mixers.softmax import Attention
from seefar.mixers.two_form import TwoFormAttention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=27,
    title="Recasting Self-Attention with Holographic Reduced Representations",
    arxiv="2305.19534",
    code="NeuromorphicComputationResearchProgram/Hrrformer",
    published="up to 280 times faster to train on the Long Range Arena, learns with one layer, takes 100,000 tokens",
    holds_when="one head of 64, float32, forward and backward, seconds of the processor: at 65,536 tokens at least 10 "
    "times as fast as PyTorch's fused softmax attention, which is measured up to 8192 tokens and extrapolated by its "
    "own power law; bytes held grow with the tokens to the power 1.0 +- 0.05. Real digits of 8 x 8 pixels, moved by up "
    "to 2, each pixel a token, one layer of 32 channels, 1000 steps of 32: at most 3 points fewer held-out digits "
    "named than with softmax. Malware and the Long Range Arena are left out at this scale",
    control="the same layer without attention must miss the bar of accuracy; softmax attention must not be linear: its "
    "seconds grow with the tokens to the power 1.6 at least",
)


def build(
    dim: int = 512,
    depth: int = 6,
    heads: int = 8,
    *,
    words: int = 17,
    length: int = 2048,
    classes: int = 10,
    inverse: Inverse = involution,
) -> SequenceModel:
    """A classifier of words, as for ListOps. Differs: one linear head, behind a norm; no norm of the embedding."""
    attend = partial(TwoFormAttention, dim, heads, Holographic(inverse))
    layers = layered(dim, depth, attend)
    return SequenceModel(layers, dim, classes, words=words, positions=length, pool="mean")


def layered(dim: int, depth: int, attend: Callable[[], Mixer] | None) -> Stack:
    """x <- x + attend(x), without a norm; x <- x + mlp(norm(x)), half as wide inside. None leaves attention out."""
    mlp = partial(Block, dim, mlp_ratio=0, norm=nn.LayerNorm)
    bare = partial(Block, dim, mlp_ratio=0, norm=lambda _: nn.Identity())
    pairs = [([] if attend is None else [bare(attend())]) + [mlp(MLP(dim, ratio=0.5))] for _ in range(depth)]
    return Stack([block for pair in pairs for block in pair])


def claim(scale: Scale) -> Verdict:
    """Seconds and bytes by tokens; then digits with it, with softmax and with nothing."""
    ways: dict[str, Attend] = {"Hrrformer": Holographic().linear, "softmax": scaled_dot_product_attention}
    far = scale.pick(512, 65536)
    lengths = scale.pick({name: [64, 128] for name in ways}, {"Hrrformer": [4096], "softmax": [2048, 4096, 8192]})
    seconds = attention_seconds(ways, lengths | {"Hrrformer": [*lengths["Hrrformer"], far]})
    held = attention_bytes(ways, scale.pick([64, 128], [1024, 4096]))
    faster = expected(seconds, "softmax", far) / seconds["Hrrformer"][far].mean
    dim = scale.pick(4, 32)
    attentions: dict[str, Callable[[], Mixer] | None] = {
        "softmax": partial(Attention, dim, 2, causal=False),
        "Hrrformer": lambda: TwoFormAttention(dim, 2, Holographic()),
        "no attention": None,
    }
    columns = {name: partial(layered, dim, 1, attend) for name, attend in attentions.items()}
    share = digits_by_pixel(columns, scale, dim=dim, steps=scale.pick(2, 1000), batch=scale.pick(4, 32))
    softmax, ours, nothing = (share[name]["accuracy"].mean for name in columns)
    powers = {name: {"seconds": seconds.slope(name), "bytes": held.slope(name)} for name in ways}
    return Verdict(
        figures={
            "seconds, forward and backward": seconds.to_json(),
            "bytes": held.to_json(),
            "powers in tokens": powers,
            f"times as fast as softmax at {far} tokens, extrapolated": faster,
            "share of digits named": share.to_json(),
        },
        checks={
            "ten times as fast": faster >= 10,
            "bytes grow with the tokens": abs(powers["Hrrformer"]["bytes"] - 1) <= 0.05,
            "at most 3 points below softmax": ours >= softmax - 0.03,
        },
        controls={
            "no attention: over 3 points below softmax": nothing < softmax - 0.03,
            "softmax is not linear": powers["softmax"]["seconds"] >= 1.6,
        },
        note="weights come from cosines, so they differ by e^2 at most, and sum to one over the tokens: the longer a "
        "sequence, the less attention adds to a token. The first task, digits of 16 patches, needed no attention and "
        "was replaced before this run",
    )
