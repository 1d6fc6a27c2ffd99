"""NaViT: pictures at their own size and aspect, packed like sentences (Dehghani et al. 2023).

A vision transformer is usually fed squares of one size. NaViT cuts every picture at its own aspect, at a size drawn
anew each time, leaves out some of its patches, and puts as many pictures into one row as fit; attention and pooling
keep them apart. The same row then holds more examples, none of them squashed, and one network serves all sizes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from seefar.backbones.attention_pool import AttentionPool
from seefar.backbones.packed import Packed
from seefar.embed.native import squash
from seefar.evals.protocols import Curves, classification
from seefar.mixers.block import Block, Stack
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.absolute import FactorisedGrid
from seefar.synthetic.glyphs import Glyphs
from seefar.training.native import NativeBatches

CARD = Card(
    number=20,
    title="Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution",
    arxiv="2307.06304",
    code=None,
    published="as good as the best compute-matched ViT with a quarter of its training compute; under 2 % padding",
    holds_when=(
        "shapes whose name tells their stretch, in frames of aspects 1:4 to 4:1; one small network, equal tokens of "
        "training, padding counted: pictures of 16 to 64 tokens at their own aspect, half of them dropped, packed, "
        "against squares of 49 tokens. At most 2 % of a packed batch is padding; at least twice as many pictures are "
        "seen; the error on pictures of 49 tokens at their own aspect is at least 2 points below that on squares of "
        "49; tested with 25, 36, 49 and 64 tokens, accuracy never falls by over 0.5 point from one to the next"
    ),
    control=(
        "one picture to a row, padded to the longest, must miss the 2 % of padding; the packed network itself, given "
        "test pictures squashed to squares of 49 tokens, must miss the bar of error"
    ),
)
PATCH, LENGTH = 8, 245
TOKENS = (25, 36, 49, 64)


def build(
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    *,
    patch: int = 16,
    channels: int = 3,
    classes: int = 1000,
    sides: int = 64,
    kind: str = "fractional",
) -> Packed:
    """The network; as it is, of the size of ViT-B. Feed it ``pack_images(images, patch, length)``.

    Args:
        dim: width of a token.
        depth: blocks.
        heads: of attention, and of the pooling.
        patch: side of a patch, in pixels.
        channels: of a picture.
        classes: of the head; 0 for features.
        sides: entries of the tables of places; with kind="absolute" the most rows, or columns, of a picture.
        kind: "fractional" or "absolute".

    Differs: neither has the projection out of attention a bias.
    """
    norm = partial(nn.LayerNorm, eps=1e-6, bias=False)
    blocks = [
        Block(dim, Attention(dim, heads, causal=False, qk_norm=partial(nn.RMSNorm, eps=1e-6)), norm=norm)
        for _ in range(depth)
    ]
    place, pool = FactorisedGrid(dim, sides, kind), AttentionPool(dim, heads, bias=False)
    return Packed(Stack(blocks), place, pool, features=channels * patch**2, dim=dim, norm=norm(dim), classes=classes)


def claim(scale: Scale) -> Verdict:
    """Two networks alike, one on packed pictures, one on squares; as many steps of as many tokens."""
    steps, rows, count = scale.pick((2, 1, 8), (240, 8, 1200), (6000, 32, 4000))
    dim, depth = scale.pick((16, 1), (64, 3), (128, 6))
    glyphs = Glyphs()
    native = NativeBatches(glyphs.draw, PATCH, LENGTH, rows, tokens=(16, 64))
    square = replace(native, tokens=(49, 49), drop=None, fit=squash)

    def network(seed: int) -> Packed:
        return build(dim, depth, 4, patch=PATCH, channels=1, classes=len(glyphs.names), sides=16, kind="absolute")

    squashed = {"squashed": partial(square.test, count, 49)}
    tests: dict[Any, Any] = {tokens: partial(native.test, count, tokens) for tokens in TOKENS} | squashed
    train = partial(classification, setting=scale, steps=steps, lr=2e-3)
    packed = train({"packed": network}, native.train, tests, name="navit packed")["packed"]
    squares = train({"squares": network}, square.train, squashed, name="navit squares")["squares"]
    load, those = native.load(scale.seeds, range(0, steps, 10)), square.load(scale.seeds, (0,))
    right = {point: figure.mean for point, figure in packed.items()}
    bar = squares["squashed"].mean + 0.02
    figures = {
        "accuracy": Curves({"packed": packed, "squares": squares}).to_json(),
        "share of a batch that is no padding": load.full,
        "the same, one picture to a row": load.alone,
        "pictures in a batch": {"packed": load.pictures, "squares": those.pictures},
        "tokens of training": steps * rows * LENGTH,
    }
    checks = {
        "at most 2 % padding": load.full >= 0.98,
        "twice the pictures": load.pictures >= 2 * those.pictures,
        "error 2 points below": right[49] >= bar,
        "no size falls behind": all(right[b] >= right[a] - 0.005 for a, b in pairwise(TOKENS)),
    }
    controls = {"alone, it is padded": load.alone < 0.98, "squashed, it is no better": right["squashed"] < bar}
    return Verdict(figures, checks, controls)
