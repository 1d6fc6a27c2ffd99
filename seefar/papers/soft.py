"""SOFT: attention without a softmax, by a Gaussian kernel and a few landmarks (Lu et al. 2021, 2022).

Tokens that are alike attend to each other, as much as the Gaussian of their distance tells. With keys equal to queries
this is a kernel matrix, and Nyström's approximation puts it together from the kernel between all tokens and landmarks
that a strided convolution reads off the picture: work grows with the tokens. The small matrix in the middle is inverted
by Newton's iteration, products of matrices alone. Without a softmax nothing bounds the sum of the weights; SOFT++
scales the small matrix from both sides by the sums of its rows, so that pictures of any size come out alike.

The kernel by itself names as many digits as softmax; what SOFT++ has above that comes from its filter of near values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt

from torch.nn.functional import scaled_dot_product_attention

from seefar.backbones.pyramid import Pyramid
from seefar.backbones.soft import post_norm_column, soft
from seefar.evals.digit_pictures import digits_by_pixel
from seefar.evals.long_attention import Attend, attention_bytes, attention_seconds
from seefar.evals.resolution import output_sizes
from seefar.mixers.base import Mixer
from seefar.mixers.gaussian import GaussianAttention
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=102,
    title="Softmax-free Linear Transformers",
    arxiv="2207.03341",
    code="fudan-zvg/SOFT",
    published="more accurate for its cost on ImageNet than transformers with softmax; linear in time and memory",
    holds_when="real digits of 8 x 8 pixels, moved by up to 2, each pixel a token, one layer of 32 channels, "
    "1000 steps of 32: SOFT++ with 16 landmarks names at most 1.5 points fewer held-out digits than softmax, with as "
    "many parameters. One head of 64 with 64 landmarks, forward, 256 to 4096 tokens: seconds of the processor and "
    "bytes grow with the tokens to a power of at most 1.15. Untrained, a landmark for 4 x 4 pixels, from 256 to 4096: "
    "what comes out of SOFT++ is finite and grows by less than 5 times",
    control="the same layer without attention must miss the bar of accuracy; seconds of softmax must grow with the "
    "tokens to the power 1.6 at least; without the norm of SOFT++ what comes out must grow by 5 times at least",
)


def build(
    dims: Sequence[int] = (64, 128, 320, 512),
    depths: Sequence[int] = (1, 2, 3, 2),
    *,
    side: int = 224,
    head: int = 32,
    stem: int = 32,
    classes: int = 1000,
    symmetric: bool = True,
) -> Pyramid:
    """SOFT-Tiny, with ``symmetric`` SOFT++: three levels of 49 landmarks each at 224 pixels, then one of softmax."""
    return soft(dims, depths, side=side, head=head, stem=stem, classes=classes, symmetric=symmetric)


def claim(scale: Scale) -> Verdict:
    """Digits by four columns; seconds and bytes by tokens; what comes out by tokens."""
    dim = scale.pick(4, 32)
    attentions: dict[str, Callable[[], Mixer] | None] = {
        "softmax": partial(Attention, dim, 2, causal=False, bias=True),
        "SOFT++": partial(GaussianAttention, dim, 2, (8, 8), ratio=2),
        "SOFT++ without its filter": partial(GaussianAttention, dim, 2, (8, 8), ratio=2, near=0),
        "no attention": None,
    }
    columns = {name: partial(post_norm_column, dim, attend, ratio=2) for name, attend in attentions.items()}
    share = digits_by_pixel(columns, scale, dim=dim, steps=scale.pick(2, 1000), batch=scale.pick(4, 32))
    softmax, ours, _, nothing = (share[name]["accuracy"].mean for name in columns)
    lengths = scale.pick([64, 256], [256, 1024, 4096])
    by_length = {n: GaussianAttention(64, 1, (isqrt(n),) * 2, ratio=isqrt(n) // 8, near=0) for n in lengths}
    ways: dict[str, Attend] = {
        "SOFT++": lambda q, k, v: by_length[q.shape[2]].attend(q, v),
        "softmax": scaled_dot_product_attention,
    }
    seconds = attention_seconds(ways, dict.fromkeys(ways, lengths), backward=False, repeats=scale.pick(1, 5))
    held = attention_bytes(ways, lengths, backward=False)
    power = {name: {"seconds": seconds.slope(name), "bytes": held.slope(name)} for name in ways}
    sides = scale.pick((8, 16), (16, 32, 64))
    sizes = output_sizes({"SOFT++": partial(_dense, True), "SOFT": partial(_dense, False)}, sides, scale)
    growth = {name: row[sides[-1]].mean / row[sides[0]].mean for name, row in sizes.items()}
    return Verdict(
        figures={
            "share of digits named": share.to_json(),
            "seconds, forward": seconds.to_json(),
            "bytes": held.to_json(),
            "powers in tokens": power,
            "size of what comes out, by side": sizes.to_json(),
            f"growth of it from {sides[0] ** 2} to {sides[-1] ** 2} tokens": growth,
        },
        checks={
            "at most 1.5 points below softmax": ours >= softmax - 0.015,
            "seconds grow with the tokens": power["SOFT++"]["seconds"] <= 1.15,
            "bytes grow with the tokens": power["SOFT++"]["bytes"] <= 1.15,
            "SOFT++ grows by less than 5 times": growth["SOFT++"] < 5,
        },
        controls={
            "no attention: over 1.5 points below softmax": nothing < softmax - 0.015,
            "softmax is not linear": power["softmax"]["seconds"] >= 1.6,
            "without the norm it grows by 5 times": growth["SOFT"] >= 5,
        },
    )


def _dense(symmetric: bool, side: int) -> Mixer:
    return GaussianAttention(32, 2, (side, side), ratio=4, symmetric=symmetric)
