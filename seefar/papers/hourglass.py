"""Hourglass: most layers of a language model run on a shortened sequence, between a few at full length (Nawrot 2022).

Neighbouring pixels or letters say little that is new, yet every layer of a flat model pays for each of them. Here a few
tokens at a time are joined, most layers work on the groups, and what they found is given back to the tokens beside
what the first layers knew of each. Groups are cut so that none holds a token that it helps to predict.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from seefar.backbones.sequence import SequenceModel
from seefar.evals.bits import bits_per_token
from seefar.evals.flops import matrix_flops
from seefar.evals.protocols import Arm, ablation, peak_bytes
from seefar.mixers.hourglass import hourglass
from seefar.mixers.look import Look
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.rope import Rope
from seefar.synthetic.grey_patches import grey_patches

LEVELS = 16
CARD = Card(
    number=184,
    title="Hierarchical Transformers Are More Efficient Language Models",
    arxiv="2110.13711",
    code="google/trax",
    published="ImageNet32 3.741 bits per dimension, Enwik8 0.98 bits per byte; better than a flat Transformer of the "
    "same arithmetic, with less memory than one of as many layers",
    holds_when="squares of 16 x 16 pixels, 16 grey levels, of real photographs, read pixel by pixel, 250 steps of 8, "
    "width 32; tested on other photographs. Two layers at full length around 13 at a quarter of it take between 0.95 "
    "and 1 times the arithmetic of a step of a flat Transformer of four layers, counted as it runs: they need at least "
    "0.02 bits per pixel less; after three quarters of the steps they need no more than the flat one after all; a step "
    "holds at most 0.7 times the bytes of that of a flat one of as many layers, 15",
    control="the two layers at full length without those between them, trained alike, must not need 0.02 bits less "
    "than the flat Transformer",
)
FLAT, SHORT, EDGES = "4@1", "1@1 13@4 1@1", "2@1"


def build(
    hierarchy: str = "2@1 8@3 2@1", dim: int = 512, *, words: int = 256, heads: int = 8, look: bool = True
) -> SequenceModel:
    """A language model of attention and MLPs at several lengths; its input is what comes before each token.

    Args:
        hierarchy: layers and how much shorter they run; one level such as ``"12@1"`` is a flat Transformer.
        dim: D.
        words: of the vocabulary; one more, ``words``, stands before the first.
        heads: of attention.
        look: tokens attend to the groups that they get their share from, and to those before.
    """
    rope = Rope(dim // heads)
    attend, look_up = partial(Attention, dim, heads, rope=rope), partial(Look, heads=heads, rope=rope)
    column = hourglass(hierarchy, dim, "A F", A=attend, look_up=look_up if look else None)
    return SequenceModel(column, dim, words, words=words + 1)


def claim(scale: Scale) -> Verdict:
    """Bits per pixel after training with equal arithmetic in each step; then the memory of a step."""
    dim, side, batch, steps = scale.pick((8, 8, 2, 4), (32, 16, 8, 250))
    small = partial(build, dim=dim, words=LEVELS, heads=2, look=False)
    models: dict[str, tuple[str, int]] = {
        "flat": (FLAT, steps),
        "hourglass": (SHORT, steps),
        "hourglass, three quarters of the steps": (SHORT, steps * 3 // 4),
        "without its middle": (EDGES, steps),
    }
    arms = {name: _trained(partial(small, shape), scale, side, batch, count) for name, (shape, count) in models.items()}
    bits = ablation(arms, scale, name="bits per pixel")
    flat, short, early, edges = (bits[name]["score"].mean for name in models)
    shapes = {"flat": FLAT, "hourglass": SHORT, "without its middle": EDGES, "flat, as many layers": "15@1"}
    works = {name: _step(small(shape), batch, side**2) for name, shape in shapes.items()}
    flops = {name: matrix_flops(work) for name, work in works.items()}
    held = {name: peak_bytes(work) for name, work in works.items()}
    equal = flops["hourglass"] / flops["flat"]
    lighter = held["hourglass"] / held["flat, as many layers"]
    return Verdict(
        figures={
            "bits per pixel": bits.to_json(),
            "floating-point operations of a step": flops,
            "arithmetic of hourglass over flat": equal,
            "bytes of a step": held,
            "bytes of hourglass over flat, as many layers": lighter,
            "weights": {name: sum(w.numel() for w in small(shape).parameters()) for name, shape in shapes.items()},
        },
        checks={
            "equal arithmetic": 0.95 <= equal <= 1,
            "0.02 bits less than flat": short <= flat - 0.02,
            "no more bits than flat after three quarters of the steps": early <= flat,
            "0.7 times the bytes of as many flat layers": lighter <= 0.7,
        },
        controls={"without its middle: not 0.02 bits less than flat": edges > flat - 0.02},
        note="a narrow model, stopped early; at equal arithmetic an hourglass has more weights than the flat one and "
        "holds more bytes in a step, for a short layer spares more arithmetic than memory; text is not tried",
    )


def _trained(model: Callable[[], SequenceModel], scale: Scale, side: int, batch: int, steps: int) -> Arm:
    def learn(seed: int, step: int) -> Tensor:
        return grey_patches(batch, side, levels=LEVELS, seed=10_000 * seed + step).flatten(1)

    def test(seed: int) -> Tensor:
        return grey_patches(scale.pick(4, 256), side, levels=LEVELS, held_out=True, seed=seed).flatten(1)

    return bits_per_token(model, learn, test, scale, start=LEVELS, steps=steps, lr=4e-3)


def _step(model: SequenceModel, batch: int, tokens: int) -> Callable[[], None]:
    x = torch.randint(LEVELS, (batch, tokens), generator=torch.Generator().manual_seed(0))
    return lambda: cross_entropy(model(x)[0].flatten(0, 1), x.flatten()).backward()
