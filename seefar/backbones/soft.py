"""The pyramid of SOFT: levels of attention by a kernel with as many landmarks each, then one of softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from seefar.backbones.pyramid import Level, Pyramid, strided
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.gaussian import GaussianAttention
from seefar.mixers.pattern import MLP
from seefar.mixers.post_norm import PostNorm
from seefar.mixers.softmax import Attention

RATIOS, NEAR = (8, 4, 2), (9, 5, 3)
"""Of the levels with a kernel: tokens to the side of a landmark's square, and of the filter."""


def soft(
    dims: Sequence[int],
    depths: Sequence[int],
    *,
    side: int = 224,
    head: int = 32,
    stem: int = 32,
    classes: int = 0,
    symmetric: bool = True,
) -> Pyramid:
    """A picture to logits by four levels, of 1/4, 1/8, 1/16 and 1/32 of its side.

    SOFT-Tiny is soft((64, 128, 320, 512), (1, 2, 3, 2), classes=1000).

    Args:
        dims: width of a token, by level.
        depths: layers, by level.
        side: of the picture, a multiple of 32.
        head: width of a head.
        stem: width of the first convolutions.
        classes: of the head; 0 for features.
        symmetric: SOFT++; otherwise SOFT.

    Raises:
        ValueError: a side that 32 does not divide, or other than four levels.

    Reference: Lu et al., arXiv 2207.03341, as released.
    """
    if side % 32 or len(dims) != 4 or len(depths) != 4:
        raise ValueError(
            f"soft: needs four widths and depths and a side that 32 divides, got {dims}, {depths} and {side}"
        )
    grids = [(side // stride, side // stride) for stride in (4, 8, 16, 32)]
    first = strided(3, stem, stem, dims[0], strides=(2, 1, 2))
    embeds = [first, *(strided(*widths, strides=(2,)) for widths in pairwise(dims))]
    kernel = partial(GaussianAttention, symmetric=symmetric)
    columns = [
        post_norm_column(dim, partial(kernel, dim, dim // head, grid, ratio=ratio, near=near), depth)
        for dim, depth, grid, ratio, near in zip(dims, depths, grids, RATIOS, NEAR, strict=False)
    ]
    softmax = partial(Attention, dims[3], dims[3] // head, causal=False, bias=True)
    norm = partial(nn.LayerNorm, eps=1e-6)
    columns.append(Stack([Block(dims[3], softmax(), norm=norm) for _ in range(depths[3])]))
    return Pyramid([Level(*parts) for parts in zip(embeds, columns, dims, grids, strict=True)], classes=classes)


def post_norm_column(dim: int, attend: Callable[[], Mixer] | None, depth: int = 1, *, ratio: float = 4.0) -> Stack:
    """x <- norm(x + attend(x)),    x <- norm(x + mlp(x)),    so many times; None leaves attention out.

    Args:
        dim: D.
        attend: makes the attention of each layer.
        depth: layers.
        ratio: hidden width of the MLP over ``dim``.
    """
    layer: list[Callable[[], Mixer]] = [] if attend is None else [attend]
    layer.append(partial(MLP, dim, ratio=ratio))
    return Stack([PostNorm(dim, make()) for _ in range(depth) for make in layer])
