"""V1T: a vision transformer predicts the visual cortex of mice (Li et al. 2023).

One transformer for all animals turns a picture, cut into overlapping patches, into a map of features. Before each of
its blocks it is told what the animal does: pupil size, its change, running speed, where the eye looks. Every cell of an
animal reads the map at one learnt place, which moves with the eye.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from seefar.brain.cores import AttentionCore, ConvCore, full_width_attention
from seefar.brain.encoder import NeuralEncoder
from seefar.embed.sliding import SlidingPatches
from seefar.evals.neural import encoding_arm, simulated_animals
from seefar.evals.protocols import sweep
from seefar.mixers.block import Block
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=109,
    title="V1T: large-scale mouse V1 response prediction using a Vision Transformer",
    arxiv="2302.03023",
    code="bryanlimy/V1T",
    published="predicts responses more than 12.7 % better than convolutions; its attention meets the receptive fields",
    holds_when=(
        "three simulated animals of 100 cells (simple and complex, divisive surround, gain by pupil size and speed, "
        "fields that follow the eye, Poisson spikes), pictures of 18 x 32 pixels; transformer and convolutions of "
        "equal parameters (+- 2 %), told the same, with the same readout, trained alike: correlation of the prediction "
        "with the average response to pictures held out is at least 1.05 times that of the convolutions; readouts are "
        "found where fields were planted, mean r of x and y at least 0.9; the centre of the class token's rollout "
        "follows the pupil, mean r above 2.33 / sqrt(trials) in every seed (p < 0.01)"
    ),
    control="the transformer that isn't told of behaviour and eye must stay below 1.05 times the convolutions, and its "
    "rollout must miss the r of the eye; readouts before training must miss the 0.9",
)
NOTE = (
    "the class token's output feeds nothing, so that nothing teaches it where to look in the last block; at cpu scale "
    "kernels are halved with the pictures, patches and first convolutions lie 2 pixels apart, the core has no L1"
)
WANTED = ("to average", "single trial", "feve", "centres", "centres untrained", "shift", "eye", "core", "ceiling")


def build(
    xy: Mapping[str, Tensor],
    *,
    size: tuple[int, int] = (36, 64),
    patch: int = 8,
    stride: int = 1,
    dim: int = 155,
    depth: int = 4,
    heads: int = 4,
    hidden: int = 488,
    behaviours: int = 5,
) -> NeuralEncoder:
    """The encoder of grey pictures with a readout for each animal; defaults are those of the released code.

    Args:
        xy: (N, 2) or more by animal, places of its cells in the cortex.
        size: (H, W) of a picture.
        patch: side of a patch.
        stride: pixels from a patch to the next.
        dim: width of a token, and of every head.
        depth: blocks.
        heads: of attention.
        hidden: width of a block's MLP.
        behaviours: numbers that tell what the animal does, with the pupil's x and y; 0 leaves behaviour and eye out.
    """
    if min(size) < patch:
        raise ValueError(f"v1t: pictures of {size[0]} x {size[1]} hold no patch of {patch}; use a smaller patch")
    grid = ((size[0] - patch) // stride + 1, (size[1] - patch) // stride + 1)
    block = partial(Block, dim, mlp_ratio=hidden / dim, norm=nn.LayerNorm)
    blocks = [block(full_width_attention(dim, heads)) for _ in range(depth)]
    core = AttentionCore(SlidingPatches(dim, patch, stride, 1), blocks, grid=grid, behaviours=behaviours)
    return NeuralEncoder(core, xy, shift=behaviours > 0)


def claim(scale: Scale) -> Verdict:
    """A transformer, convolutions and a transformer that is told nothing, each trained on the same animals."""
    count, units, size = scale.pick((2, 8, (10, 14)), (3, 100, (18, 32)), (3, 200, (36, 64)))
    tests, repeats = scale.pick((6, 3), (100, 10))
    stride, dim, depth, width = scale.pick((2, 8, 1, 10), (2, 32, 2, 62), (1, 64, 4, 195))
    kernels = scale.pick((3, 3), (5, 3), (9, 7))
    world = {"count": count, "units": units, "pictures": scale.pick(16, 1500, 4000), "tests": tests, "repeats": repeats}
    animals = partial(simulated_animals, size=size, **world)
    shape: dict[str, Any] = {"size": size, "stride": stride, "dim": dim, "depth": depth, "heads": 2, "hidden": 3 * dim}
    makes: dict[str, Callable[[dict[str, Tensor]], NeuralEncoder]] = {
        "V1T": partial(build, **shape),
        "convolutions": lambda xy: NeuralEncoder(ConvCore(width, kernels=kernels, stride=stride, behaviours=5), xy),
        "V1T, not told": partial(build, **shape, behaviours=0),
    }
    few: dict[str, Any] = {"steps": scale.pick(2, 800), "batch": scale.pick(4, 8), "lr": 0.01, "l1_core": 0.0}
    many = {"steps": 20_000, "batch": 16, "lr": 0.001647, "l1_core": 0.005}  # for a hundredth of the published cells
    recipe = scale.pick(few, few, many)
    arms = {name: encoding_arm(make, animals, progress=scale.progress, **recipe) for name, make in makes.items()}
    found = sweep("v1t", arms, WANTED, scale)
    (v1t, conv, blind), bar = found.values(), 2.33 * (count * tests * repeats) ** -0.5
    ratio = {name: row["to average"].mean / conv["to average"].mean for name, row in found.items()}
    figures = {
        "by arm": found.to_json(),
        "correlation to average, over that of convolutions": ratio,
        "r of the eye that chance reaches once in a hundred": bar,
        "correlation of the true rates, over that of convolutions": conv["ceiling"].mean / conv["to average"].mean,
        "parameters of the core, over those of convolutions": v1t["core"].mean / conv["core"].mean,
    }
    checks = {
        "1.05 times the convolutions": ratio["V1T"] >= 1.05,
        "readouts are where fields were planted": v1t["centres"].mean >= 0.9,
        "attention follows the eye": min(v1t["eye"].values) > bar,
    }
    controls = {
        "told nothing, it is not 1.05 times the convolutions": ratio["V1T, not told"] < 1.05,
        "told nothing, attention does not follow the eye": blind["eye"].mean <= bar,
        "readouts before training are elsewhere": v1t["centres untrained"].mean < 0.9,
    }
    return Verdict(figures, checks, controls, NOTE)
