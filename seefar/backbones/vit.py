"""The vision transformer, as the plain column of attention that it is."""

from __future__ import annotations

from functools import partial

from torch import nn

from seefar.backbones.plain import Plain
from seefar.embed.patch import Patches
from seefar.mixers.block import Block, Stack
from seefar.mixers.softmax import Attention

TRANSFORMERS_NAMES = {
    r"^vit\.embeddings\.patch_embeddings\.projection\.": "embed.project.",
    r"^vit\.layers\.": "column.blocks.",
    r"\.layernorm_before\.": ".norm.",
    r"\.attention\.": ".mixer.",
    r"\.layernorm_after\.": ".mlp.0.",
    r"\.mlp\.fc1\.": ".mlp.1.",
    r"\.mlp\.fc2\.": ".mlp.3.",
    r"^vit\.layernorm\.": "norm.",
    r"^classifier\.": "head.",
}
"""Names in transformers' ``ViTForImageClassification`` to ours, for ``load_official``."""


def vit(
    dim: int,
    depth: int,
    heads: int,
    *,
    grid: tuple[int, int],
    patch: int = 16,
    classes: int = 0,
    backend: str | None = None,
) -> Plain:
    """A picture to logits by attention among its patches: blocks of LayerNorm, attention and an MLP four times as wide.

    DeiT-Ti is vit(192, 12, 3), DeiT-S vit(384, 12, 6), ViT-B vit(768, 12, 12), each with grid=(14, 14) at 224 pixels.

    Args:
        dim: width of a token.
        depth: blocks.
        heads: of attention.
        grid: (H, W) tokens that places are learnt for.
        patch: side of a patch, in pixels.
        classes: of the head; 0 for features.
        backend: of ``ops.attention``; None for the fastest that can run.

    Reference: Dosovitskiy et al., arXiv 2010.11929; Touvron et al., DeiT, arXiv 2012.12877.
    """
    norm = partial(nn.LayerNorm, eps=1e-6)
    blocks = [
        Block(dim, Attention(dim, heads, causal=False, bias=True, backend=backend), norm=norm) for _ in range(depth)
    ]
    return Plain(Patches(dim, patch), Stack(blocks), grid=grid, norm=norm(dim), classes=classes)
