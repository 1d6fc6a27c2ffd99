"""Sparse Transformer: attention to everything in two steps, each of which looks at few tokens (Child et al. 2019).

Two sparse layers reach every earlier pixel of a picture: the last row's worth of pixels, then all of a column. A query
meets about sqrt(N) keys instead of N. Columns suit data with a stride; stretches with summary tokens are for text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from seefar.backbones.sequence import SequenceModel
from seefar.evals.bits import bits_per_token
from seefar.evals.protocols import Arm, ablation, cost_sweep
from seefar.mixers.base import Mixer
from seefar.mixers.pattern import column
from seefar.mixers.raster_place import RasterPlace
from seefar.mixers.softmax import Attention
from seefar.mixers.sparse import Pattern, SparseAttention
from seefar.ops.block_attention import BlockMask, block_attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.digit_strip import digit_strips
from seefar.synthetic.handwriting import LEVELS

CARD = Card(
    number=48,
    title="Generating Long Sequences with Sparse Transformers",
    arxiv="1904.10509",
    code="openai/sparse_attention",
    published="CIFAR-10 2.80 bits per dimension, Enwik8 0.99 bits per byte, in less time for each step than dense",
    holds_when="pictures of 24 x 12 grey levels (strips of a moving handwritten digit) read pixel by pixel, stride 12, "
    "the same small model and training for all: strided attention meets at most 15 % of the pairs of dense attention "
    "and needs at most 0.02 bits per pixel more; fixed attention needs over 0.01 bits more than strided. Forward and "
    "backward of a local and a strided layer at 4096 tokens (4 heads of 64, stride 64) take at most a third of the "
    "time of two dense layers of PyTorch's fused kernel, and their blocks compute at most 3 times the pairs that meet",
    control="local windows in both layers, about as many pairs, must need over 0.1 bits per pixel more than strided",
)
Layers = tuple[Pattern, Pattern] | None


def build(dim: int = 32, height: int = 24, width: int = 12, *, heads: int = 2, layers: Layers = None) -> SequenceModel:
    """A model of pictures pixel by pixel: two layers, each with its pattern; None for dense ones."""

    def attend(layer: int) -> Mixer:
        return Attention(dim, heads) if layers is None else SparseAttention(dim, heads, layers[layer])

    place = partial(RasterPlace, dim, height, width)
    stack = column("P A F B F", dim, P=place, A=partial(attend, 0), B=partial(attend, 1))
    return SequenceModel(stack, dim, LEVELS, words=LEVELS + 1)


def patterns(stride: int, block: int) -> dict[str, tuple[Pattern, Pattern]]:
    """The two layers of each sparse arm."""
    local = partial(BlockMask.local, window=stride, block=block)
    fixed, strided = (partial(make, stride=stride, block=block) for make in (BlockMask.fixed, BlockMask.strided))
    return {"strided": (local, strided), "fixed": (fixed, fixed), "local": (local, local)}


def claim(scale: Scale) -> Verdict:
    """Bits per pixel of four patterns after the same training; then what the factorised pair costs."""
    n, width, block = scale.pick((160, 10, 16), (288, 12, 24))
    sparse = patterns(width, block)
    arms = {name: _trained(layers, scale) for name, layers in ({"dense": None} | sparse).items()}
    bits = ablation(arms, scale, name="bits per pixel")
    share = {name: sum(make(n, n).pairs for make in sparse[name]) / (n * (n + 1)) for name in sparse}
    lengths = scale.pick([64, 128], [1024, 2048, 4096])
    ways = {name: partial(_work, name, scale) for name in ("dense", "factorised")}
    seconds, _ = cost_sweep(ways, lengths, scale, repeats=5)
    wasted = max(mask.computed / mask.pairs for mask in _masks(lengths[-1], scale))
    faster = {at: seconds["dense"][at].mean / seconds["factorised"][at].mean for at in lengths}
    dense, strided, fixed, local = (bits[name]["score"].mean for name in arms)
    return Verdict(
        figures={
            "bits per pixel": bits.to_json(),
            "share of the pairs of dense causal attention": share,
            "seconds of two layers, forward and backward": seconds.to_json(),
            "times as fast as dense, by tokens": faster,
            "pairs computed over pairs that meet": wasted,
        },
        checks={
            "strided: at most 15 % of the pairs": share["strided"] <= 0.15,
            "strided: at most 0.02 bits more than dense": strided <= dense + 0.02,
            "fixed: over 0.01 bits more than strided": fixed > strided + 0.01,
            "at most a third of the time of dense": faster[lengths[-1]] >= 3,
            "blocks compute at most 3 times the pairs that meet": wasted <= 3,
        },
        controls={"a local window: over 0.1 bits more than strided": local > strided + 0.1},
        note="all arms are stopped early, while they still learn; dense attention has the most keys to choose from",
    )


def _trained(layers: Layers, scale: Scale) -> Arm:
    frames, width, batch, steps, tests = scale.pick((2, 10, 2, 2, 8), (3, 12, 8, 240, 400))
    model = partial(build, height=8 * frames, width=width, layers=layers)
    strips = partial(digit_strips, frames=frames, width=width)

    def learn(seed: int, step: int) -> Tensor:
        return strips(batch, seed=10_000 * seed + step).flatten(1)

    def test(seed: int) -> Tensor:
        return strips(tests, held_out=True, seed=seed).flatten(1)

    return bits_per_token(model, learn, test, scale, start=LEVELS, steps=steps, lr=4e-3)


def _masks(length: int, scale: Scale) -> list[BlockMask]:
    return [make(length, length) for make in patterns(*scale.pick((8, 8), (64, 64)))["strided"]]


def _work(name: str, scale: Scale, length: int) -> Callable[[], object]:
    heads, width = scale.pick((1, 8), (4, 64))
    q, k, v, do = torch.randn(4, 1, heads, length, width, generator=torch.Generator().manual_seed(length)).unbind()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    layers: list[Callable[..., Tensor]] = [partial(block_attention, mask=mask) for mask in _masks(length, scale)]
    layers = [partial(scaled_dot_product_attention, is_causal=True)] * 2 if name == "dense" else layers
    return lambda: [torch.autograd.grad(attend(*leaves), leaves, do) for attend in layers]
