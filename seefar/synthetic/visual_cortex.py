"""Mouse visual cortex with known tuning: cells that are shown pictures while the animal runs and looks about.

T trials, N units, H height, W width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Trials(NamedTuple):
    """What was recorded, and the truth behind it.

    Fields:
        pictures: (T, 1, H, W) as shown on the screen. stimulus: (T,) which picture. responses: (T, N) spikes.
        behaviour: (T, 3) pupil size, its change, running speed. pupil: (T, 2) centre of the pupil x y.
        rates: (T, N) spikes that were to be expected. shift: (T, 2) pixels x y that receptive fields moved.
    """

    pictures: Tensor
    stimulus: Tensor
    responses: Tensor
    behaviour: Tensor
    pupil: Tensor
    rates: Tensor
    shift: Tensor


def dead_leaves(count: int, height: int, width: int, *, seed: int, leaves: int = 60) -> Tensor:
    """Pictures (count, 1, height, width) of discs that cover each other, each of mean 0 and deviation 1.

    Radii fall off as r^-3, which gives the edges, the scaling and the heavy tails of photographs.

    Reference: Lee, Mumford and Huang, Occlusion models for natural images, IJCV 2001.
    """
    if min(count, height, width, leaves) < 1:
        raise ValueError(f"dead_leaves: sizes must be positive, got {count=} {height=} {width=} {leaves=}")
    generator = torch.Generator().manual_seed(seed)
    small, large = 1.5, 0.6 * height
    u, y, x, grey = torch.rand(4, leaves, count, 1, 1, generator=generator)
    radius = (small**-2 - u * (small**-2 - large**-2)) ** -0.5
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    pictures = torch.full((count, height, width), 0.5)
    for r, cy, cx, tone in zip(radius, y, x, grey, strict=True):
        inside = (rows - (height + 2 * r) * cy + r) ** 2 + (columns - (width + 2 * r) * cx + r) ** 2 < r**2
        pictures = torch.where(inside, tone, pictures)
    pictures = pictures - pictures.mean((1, 2), keepdim=True)
    return (pictures / pictures.std((1, 2), keepdim=True).clamp(min=0.05))[:, None]


class VisualCortex:
    """Simple and complex cells with a divisive surround, a gain by behaviour, and receptive fields that follow the eye.

    rate_n = base + gain_n drive_n / (s^2 + drive_n + k_n surround_n),    gain_n = exp(w_n . [pupil size, speed])

    drive = relu(a)^2 (simple) or (a^2 + b^2) / 2 (complex), a and b the picture under a Gabor and its quadrature;
    surround = the mean squared picture under a wide Gaussian. Receptive fields move by ``eye`` pixels for each unit of
    pupil x and y. Spikes are Poisson. Centres are a turned, stretched copy of the cells' places plus scatter.

    Args:
        units: N.
        size: (H, W) pixels.
        seed: decides the cells.
        spikes: mean count in a trial.
        eye: pixels x y for each unit of the pupil's.
        scatter: deviation of the centres from the smooth map, pixels.
        complex_share: of the cells.

    Attributes:
        xy: (N, 2) places in the cortex, micrometres. centres: (N, 2) x y in pixels, while the eye rests.
        gains: (N, 2) w, of pupil size and speed. surround: (N,) k.

    Reference: Adelson and Bergen, JOSA A 1985; Carandini and Heeger, Nat Rev Neurosci 2012; gain by running: Niell and
    Stryker, Neuron 2010.
    """

    def __init__(
        self,
        units: int,
        size: tuple[int, int],
        *,
        seed: int,
        spikes: float = 2.0,
        eye: tuple[float, float] = (2.0, 1.0),
        scatter: float = 0.5,
        complex_share: float = 0.5,
    ) -> None:
        H, W = size
        if units < 1 or min(H, W) < 8 or spikes <= 0 or not 0 <= complex_share <= 1:
            raise ValueError(
                f"VisualCortex: needs units, 8 pixels a side, spikes above 0 and a share, got {units=} {size=} "
                f"{spikes=} {complex_share=}"
            )
        self.units, self.size, self.eye = units, size, torch.tensor(eye)
        generator = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(units, generator=generator)

        self.xy = 600 * torch.rand(units, 2, generator=generator)
        turn = math.pi / 2 + 0.3 * float(torch.randn((), generator=generator))
        turned = (self.xy / 300 - 1) @ torch.tensor(
            [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
        )
        reach = torch.tensor([0.25 * W, 0.22 * H])
        middle = torch.tensor([(W - 1) / 2, (H - 1) / 2])
        self.centres = middle + reach * turned + scatter * torch.randn(units, 2, generator=generator)
        self.orientation, phase = uniform(0, math.pi), uniform(0, 2 * math.pi)
        self.width = uniform(0.08, 0.14) * H
        self.wavelength = self.width * uniform(2.0, 4.0)
        self.is_complex = torch.rand(units, generator=generator) < complex_share
        self.surround = uniform(0.5, 2.0)
        self.gains = torch.stack([uniform(0.0, 0.4), uniform(0.1, 0.6)], -1)
        rows, columns = torch.arange(H)[:, None], torch.arange(W)
        x, y = columns - self.centres[:, :1, None], rows - self.centres[:, 1:, None]
        along = x * self.orientation.cos()[:, None, None] + y * self.orientation.sin()[:, None, None]
        distance = (x**2 + y**2) / self.width[:, None, None] ** 2
        wave = 2 * math.pi * along / self.wavelength[:, None, None] + phase[:, None, None]
        envelope = torch.exp(-distance / 2)
        self.filters = torch.stack(
            [_contrast(envelope * wave.cos(), envelope), _contrast(envelope * wave.sin(), envelope)]
        )
        wide = torch.exp(-distance / 18).flatten(1)  # three times as wide
        self.wide = wide / wide.sum(1, keepdim=True)
        self.peak = torch.ones(units)
        seen = dead_leaves(512, H, W, seed=seed + 1)
        self.scale = (seen.flatten(1) @ self.filters[0].T).square().mean(0).rsqrt()
        self.peak = spikes / self._response(seen).mean(0)

    def record(self, pictures: Tensor, *, repeats: int = 1, seed: int, moves: bool = True) -> Trials:
        """Show every picture ``repeats`` times, in random order.

        Args:
            pictures: (P, 1, H, W).
            repeats: of each.
            seed: decides order, behaviour and spikes.
            moves: False keeps eye and body still, so that repeats differ by the noise of spikes alone.
        """
        if pictures.shape[1:] != (1, *self.size) or repeats < 1:
            raise ValueError(
                f"VisualCortex: pictures must be (P, 1, {self.size[0]}, {self.size[1]}) and shown, "
                f"got {tuple(pictures.shape)}, {repeats=}"
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(pictures) * repeats, generator=generator)
        stimulus = torch.arange(len(pictures)).repeat_interleave(repeats)[order]
        T, still = len(stimulus), 1.0 if moves else 0.0
        speed = torch.randn(T, generator=generator).relu() * still
        dilation = 0.6 * speed + 0.8 * torch.randn(T, generator=generator) * still
        behaviour = torch.stack([dilation, torch.randn(T, generator=generator) * still, speed], -1)
        pupil = torch.randn(T, 2, generator=generator).clamp(-2, 2) * still
        shift = pupil * self.eye
        shown = pictures[stimulus]
        gain = torch.exp(behaviour[:, [0, 2]] @ self.gains.T)
        rates = 0.1 + gain * self._response(self._as_seen(shown, shift))
        return Trials(shown, stimulus, torch.poisson(rates, generator=generator), behaviour, pupil, rates, shift)

    def _as_seen(self, pictures: Tensor, shift: Tensor) -> Tensor:
        """Pictures moved against the receptive fields, grey beyond the edge."""
        H, W = self.size
        y, x = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        grid = torch.stack([x, y], -1) + (2 * shift / torch.tensor([W - 1, H - 1]))[:, None, None]
        return F.grid_sample(pictures, grid, align_corners=True)

    def _response(self, pictures: Tensor) -> Tensor:
        flat = pictures.flatten(1)
        a, b = (flat @ filters.T * self.scale for filters in self.filters)
        drive = torch.where(self.is_complex, (a**2 + b**2) / 2, a.relu() ** 2)
        return self.peak * drive / (1 + drive + self.surround * (flat**2 @ self.wide.T))


def _contrast(filters: Tensor, envelope: Tensor) -> Tensor:
    """Filters (N, H, W) less what answers to even light, flat (N, H * W)."""
    share = filters.sum((1, 2)) / envelope.sum((1, 2))
    return (filters - share[:, None, None] * envelope).flatten(1)
