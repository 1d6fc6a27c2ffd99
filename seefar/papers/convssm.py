"""ConvS5: a state space at every place of a video, driven and read through convolutions (Smith et al. 2023).

A ConvLSTM keeps its state as a picture, but has to wait for each frame before it can take the next. Here the state is
a picture too, and its step is linear with a kernel of one point: products of steps stay points, all frames are one
parallel scan, and each place starts as a memory made to last. What is not linear is a small residual network on each
frame behind every such layer. It trains like a convolution and runs like a recurrence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from seefar.backbones.resnet import ResNetDecoder, ResNetEncoder
from seefar.evals.protocols import cost_sweep
from seefar.evals.recall import cost_after
from seefar.evals.rollout import frame_after, rollouts, update
from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack
from seefar.mixers.conv_lstm import ConvLSTM
from seefar.mixers.conv_ssm import ConvS5
from seefar.mixers.post_norm import PostNorm
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthesis.frames import FramePredictor
from seefar.synthetic.moving_digits import moving_digits

CARD = Card(
    number=34,
    title="Convolutional State Space Models for Long-Range Spatiotemporal Modeling",
    arxiv="2310.19694",
    code="NVlabs/ConvSSM",
    published="Moving MNIST, trained on 300 or 600 frames, 100 seen and up to 1200 made: better than ConvLSTM and a "
    "Transformer; trains up to 3 times faster than ConvLSTM, makes frames up to 400 times faster than a Transformer",
    holds_when=(
        "ConvS5 has, as published, the width of ConvLSTM, as many states as that has cells, and the same around it. "
        "Forward and backward through two layers (width 32, 8 x 8 places, 4 clips of 64 frames): at most 0.67 times "
        "the seconds of ConvLSTM. A frame after 120 others takes at most 1.1 times the seconds of one after 20, and as "
        "many bytes of state. One digit of 8 x 8 pixels on 16 x 16, clips of 20 frames, 320 updates: of 10 frames made "
        "after 10 seen, the mean squared error is at most that of ConvLSTM and below that of the mean frame. "
        "At gpu scale two digits on 64 x 64, clips of 40, 20 seen and 100 made: also at most the error of ConvLSTM "
        "over the last 60. Rollouts that go far beyond the clips have no bar at cpu scale"
    ),
    control="the same layers, one frame after another, must miss the bar of training; attention over all places of all "
    "frames, with a cache, must take at least 2 times the seconds after 120 frames; the mean frame, and the last frame "
    "seen, must miss the bar of the error",
)
NOTE = "without a GPU one digit, short clips and few updates: what comes far beyond the clips is shown, not judged"


def build(
    depths: Sequence[int] = (64, 128, 256),
    layers: int = 8,
    *,
    colours: int = 1,
    groups: int = 32,
    cell: Callable[[int], Mixer] | None = None,
) -> FramePredictor:
    """The predictor of Moving MNIST: 64 x 64 pixels to 16 x 16 places and back.

    Args:
        depths: widths of the encoder; the last one is that of the layers, each but the last halves the picture.
        layers: of the column.
        colours: of a pixel.
        groups: of channels that are normalised together, everywhere.
        cell: another mixer of pictures in place of ConvS5, made from its width.
    """
    cell = cell or partial(ConvS5, groups=groups)
    column = Stack([PostNorm(depths[-1], cell(depths[-1])) for _ in range(layers)])
    encode, decode = (make(colours, depths, groups=groups) for make in (ResNetEncoder, ResNetDecoder))
    return FramePredictor(encode, column, decode)


def claim(scale: Scale) -> Verdict:
    """What training and making a frame cost; then two predictors trained alike and left to themselves."""
    depths, layers, groups = scale.pick(((4, 8), 1, 2), ((8, 16, 32), 2, 4), ((32, 64, 128), 4, 32))
    make = partial(build, depths, layers, groups=groups)
    arms = {"ConvS5": make, "ConvLSTM": partial(make, cell=ConvLSTM)}
    columns = {arm: arms[arm]().column for arm in arms}
    side, batch, lengths, ages = scale.pick((2, 1, (2,), (1, 4)), (8, 4, (16, 64), (20, 120)))
    grid = (side, side, depths[-1])
    ways = {arm: update(columns[arm], grid, batch=batch) for arm in arms}
    ways["frame by frame"] = update(columns["ConvS5"], grid, batch=batch, whole=False)
    seconds, _ = cost_sweep(ways, lengths, scale, repeats=scale.pick(1, 5), name="updates")
    price = {arm: seconds[arm][lengths[-1]].mean / seconds["ConvLSTM"][lengths[-1]].mean for arm in ways}
    attend = Stack([Block(grid[-1], Attention(grid[-1], 4)) for _ in range(layers)])
    after = {arm: frame_after(columns[arm], grid) for arm in arms}
    after["Transformer"] = frame_after(attend, (side * side, grid[-1]))
    waits, kept = cost_after(after, ages, scale, repeats=scale.pick(1, 50))
    growth = {arm: row[ages[-1]].mean / row[ages[0]].mean for arm, row in waits.items()}
    train, context, steps, rate = scale.pick((4, 2, 2, 1e-3), (20, 10, 320, 3e-3), (40, 20, 10_000, 1e-3))
    near, far = scale.pick([(1, 2), (3, 4)], [(1, 10), (11, 40)], [(1, 10), (41, 100)])
    pixels, digits, digit = scale.pick((8, 1, 4), (16, 1, 8), (64, 2, 28))
    clips = partial(moving_digits, size=pixels, digits=digits, digit=digit)
    error = rollouts(arms, clips, [near, far], scale, train=train, context=context, steps=steps, lr=rate)
    bar = error["ConvLSTM"][near].mean
    figures = {
        "seconds of an update by frames": seconds.to_json(),
        "seconds of an update over ConvLSTM": price,
        "seconds of a frame by frames before it": waits.to_json(),
        "bytes remembered": {arm: {str(n): row[n] for n in ages} for arm, row in kept.items()},
        "seconds of a late frame over an early one": growth,
        "parameters of the layers": {arm: sum(p.numel() for p in columns[arm].parameters()) for arm in arms},
        "mean squared error by frames made": error.to_json(),
    }
    checks = {
        "trains in two thirds of the time": price["ConvS5"] <= 0.67,
        "a late frame costs as an early one": growth["ConvS5"] <= 1.1 and len(set(kept["ConvS5"].values())) == 1,
        "makes frames as well as ConvLSTM": error["ConvS5"][near].mean <= bar,
        "better than the mean frame": error["ConvS5"][near].mean < error["mean frame"][near].mean,
    }
    beyond = {"as well as ConvLSTM far beyond": error["ConvS5"][far].mean <= error["ConvLSTM"][far].mean}
    checks |= scale.pick({}, {}, beyond)
    controls = {
        "frame by frame is slow to train": price["frame by frame"] > 0.67,
        "attention slows down": growth["Transformer"] >= 2,
        "standing still misses the bar": min(error[arm][near].mean for arm in ("last frame", "mean frame")) > bar,
    }
    return Verdict(figures, checks, controls, NOTE)
