"""Vim: a plain vision backbone without attention (Zhu et al. 2024).

Each of its 24 blocks is one Mamba mixer that reads the patches from both ends, with a class token in their middle, so
that it is as far from the first patch as from the last. Nothing in it grows with the square of the number of patches:
at large pictures it takes a fraction of the memory and of the time of a ViT whose attention weights are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seefar.backbones.official import class_apart, load_official
from seefar.backbones.plain import Plain
from seefar.backbones.vit import vit
from seefar.embed.patch import Patches
from seefar.evals.protocols import Curves, cost_sweep
from seefar.mixers.bidirectional import BidirectionalMamba
from seefar.mixers.block import Block, Stack
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=104,
    title="Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model",
    arxiv="2401.09417",
    code="hustvl/Vim",
    published="features of 1248 x 1248 pictures (6084 patches): 2.8 times faster than DeiT-Ti, with 86.8 % less memory",
    holds_when=(
        "two blocks of Vim-Ti against the one block of DeiT-Ti that stands in their place, each with patch embedding "
        "and head, without gradients: peak bytes at 6084 patches at most 0.2 times those of written-out attention; "
        "bytes grow with the patches (1600 to 6084) to the power 1.0 +- 0.1; faster than written-out attention at "
        "every length measured from a printed crossover below 6084 on. Fused attention (SDPA) runs beside them without "
        "a bar. Accuracy is left out at this scale"
    ),
    control="written-out attention itself must miss the power of 1.0 +- 0.1",
)
WIDTHS = {"vim_tiny": 192, "vim_small": 384, "vim_base": 768}
NAMES = {r"^patch_embed\.proj\.": "embed.project.", r"^layers\.": "column.blocks.", r"^norm_f\.": "norm."}
"""Official names to ours; those inside a block are the same."""


def build(
    name: str = "vim_tiny",
    *,
    size: int = 224,
    depth: int = 24,
    classes: int = 1000,
    weights: Mapping[str, Any] | None = None,
) -> Plain:
    """A Vim with patches of 16 pixels; pictures of other sizes than ``size`` get their places by interpolation.

    Args:
        name: one of ``WIDTHS``.
        size: side of the picture that places are learnt for, in pixels.
        depth: blocks.
        classes: of the head.
        weights: an official state dict (``*-midclstok``), or a checkpoint that holds one under ``model``.

    Differs: no stochastic depth; places are resized around the class token's row, where the released code takes row 0
    for it; the 8-pixel strides of the fine-tuned models are not built.
    """
    if name not in WIDTHS:
        raise ValueError(f"vim: name must be one of {', '.join(WIDTHS)}, got {name!r}")
    if size < 16 or size % 16:
        raise ValueError(f"vim: size must be a multiple of 16 pixels, got {size}; try {max(1, round(size / 16)) * 16}")
    dim, side = WIDTHS[name], size // 16
    blocks = [Block(dim, BidirectionalMamba(dim, depth=depth), mlp_ratio=0) for _ in range(depth)]
    model = Plain(Patches(dim), Stack(blocks), grid=(side, side), cls="middle", classes=classes)
    if weights is not None:
        found = class_apart(weights.get("model", weights), model, token="cls_token", table="pos_embed")
        load_official(model, found, NAMES)
    return model


def claim(scale: Scale) -> Verdict:
    """Seconds and bytes of three columns over square pictures of rising size, nothing trained."""
    lengths = [side * side for side in scale.pick((4, 10), (14, 20, 28, 40, 48, 56, 68, 78))]
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def arm(make: Callable[[int], Plain]) -> Callable[[int], Callable[[], Tensor]]:
        def prepare(patches: int) -> Callable[[], Tensor]:
            side = round(patches**0.5)
            model, picture = make(side).eval().to(device), torch.rand(1, 3, 16 * side, 16 * side, device=device)
            return lambda: torch.inference_mode()(model)(picture).cpu()

        return prepare

    def deit(backend: str) -> Callable[[int], Plain]:
        return lambda side: vit(192, 1, 3, grid=(side, side), classes=1000, backend=backend)

    rivals = {"written out": deit("reference"), "fused": deit("sdpa")}
    arms = {"vim": arm(lambda side: build(size=16 * side, depth=2))} | {name: arm(rivals[name]) for name in rivals}
    seconds, held = cost_sweep(arms, lengths, scale)
    far = Curves({name: {n: row[n] for n in lengths if n >= scale.pick(1, 1600)} for name, row in held.items()})
    powers = {name: far.slope(name) for name in far}
    bytes_, speeds = ({name: cost[name][lengths[-1]].mean for name in arms} for cost in (held, seconds))
    wins = {name: [n for n in lengths if _won(seconds, name, [m for m in lengths if m >= n])] for name in rivals}
    figures = {
        "seconds": seconds.to_json(),
        "bytes": held.to_json(),
        "power of bytes in patches": powers,
        "patches at the end": lengths[-1],
        "bytes at the end, vim over": {name: bytes_["vim"] / bytes_[name] for name in rivals},
        "times as fast at the end, vim against": {name: speeds[name] / speeds["vim"] for name in rivals},
        "patches from which vim is faster than": {name: min(wins[name], default=None) for name in rivals},
    }
    checks = {
        "a fifth of the bytes": bytes_["vim"] <= 0.2 * bytes_["written out"],
        "bytes in proportion to patches": abs(powers["vim"] - 1) <= 0.1,
        "faster from a crossover on": len(wins["written out"]) >= 2,
    }
    return Verdict(figures, checks, {"written-out attention is not linear": abs(powers["written out"] - 1) > 0.1})


def _won(seconds: Curves, rival: str, lengths: list[int]) -> bool:
    return all(seconds["vim"][n].mean < seconds[rival][n].mean for n in lengths)
