"""The same picture with more pixels, the same layer over more tokens: does what comes out keep its size?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Curves, Measure, Setting, sweep
from seefar.mixers.base import Mixer
from seefar.synthetic.digit_pixels import digit_pixels


def output_sizes(
    mixers: Mapping[str, Callable[[int], Mixer]],
    sides: Sequence[int],
    setting: Setting,
    *,
    dim: int = 32,
    pictures: int = 4,
    name: str = "output sizes",
) -> Curves:
    """Root mean square of what an untrained mixer gives for digits, by the side of the picture in pixels.

    A token is a pixel: a random linear map of its grey level, row and column, normalised. A seed fixes the map and the
    weights for all sides.

    Args:
        mixers: ``make(side)`` gives a mixer for side^2 tokens in raster order, whose weights do not depend on the side.
        sides: in pixels, 8 at least.
        setting: the scale.
        dim: D.
        pictures: digits.
        name: of the experiment.

    Raises:
        FloatingPointError: what comes out is not finite.
    """

    def prepared(make: Callable[[int], Mixer]) -> Callable[[int], Measure]:
        def prepare(seed: int) -> Measure:
            @torch.inference_mode()
            def size(side: int) -> float:
                torch.manual_seed(seed)
                embed = nn.Linear(3, dim)
                y, _ = make(side)(F.layer_norm(embed(_pixels(side, pictures)), (dim,)))
                return float(y.square().mean().sqrt())

            return size

        return prepare

    return sweep(name, {arm: prepared(make) for arm, make in mixers.items()}, sides, setting)


def _pixels(side: int, pictures: int) -> Tensor:
    """(pictures, side^2, 3) grey level, row and column, each in [-1, 1]."""
    grey = digit_pixels("held-out", side=side)[0][:pictures]
    line = torch.linspace(-1, 1, side)
    places = torch.cartesian_prod(line, line).expand(len(grey), -1, -1)
    return torch.cat([grey, places], -1)
