"""A picture to the activity of every cell of an animal: one core for all animals, a readout for each.

B trials, N units, K numbers of behaviour, D features, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.brain.cores import AttentionCore, ConvCore
from seefar.brain.readout import GaussianReadout
from seefar.brain.shifter import Shifter


class NeuralEncoder(nn.Module):
    """Predicts how cells respond to a picture while the animal moves its eyes and body.

    rate = elu(readout_animal(core(picture, [behaviour, pupil]), shifter_animal(pupil))) + 1

    Args:
        core: pictures to a map of features; its ``behaviours`` count pupil and behaviour together.
        xy: (N, 2) or more, by the animal's name: places of its cells in the cortex.
        shift: whether readouts follow the eye.

    Shapes:
        pictures (B, C, H, W), behaviour (B, K - 2), pupil (B, 2) -> (B, N), above 0.

    Raises:
        ValueError: an animal it doesn't know; no pupil for an encoder that follows the eye.

    Reference: Li et al., V1T, arXiv 2302.03023.
    """

    def __init__(self, core: AttentionCore | ConvCore, xy: Mapping[str, Tensor], *, shift: bool = True) -> None:
        super().__init__()
        if not xy:
            raise ValueError("NeuralEncoder: needs an animal with its cells, got none")
        self.core = core
        self.readouts = nn.ModuleDict({name: GaussianReadout(core.dim, cells) for name, cells in xy.items()})
        self.shifters = nn.ModuleDict({name: Shifter() for name in xy} if shift else {})

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def forward(
        self, animal: str, pictures: Tensor, behaviour: Tensor | None = None, pupil: Tensor | None = None
    ) -> Tensor:
        """Rates of the cells of one animal."""
        return self.read(animal, self.features(pictures, behaviour, pupil), pupil)

    def features(self, pictures: Tensor, behaviour: Tensor | None = None, pupil: Tensor | None = None) -> Tensor:
        """The map (B, D, h, w) that any animal's readout takes."""
        known = [part for part in (behaviour, pupil) if part is not None]
        return self.core(pictures, torch.cat(known, -1) if known else None)

    def read(self, animal: str, features: Tensor, pupil: Tensor | None = None) -> Tensor:
        """Rates of the cells of one animal from the map."""
        return F.elu(self.readout(animal)(features, self.shift(animal, pupil))) + 1

    def readout(self, animal: str) -> GaussianReadout:
        """The readout of one animal."""
        if animal not in self.readouts:
            raise ValueError(f"NeuralEncoder: knows {', '.join(self.readouts)}, got {animal!r}")
        return cast(GaussianReadout, self.readouts[animal])

    def shift(self, animal: str, pupil: Tensor | None) -> Tensor | None:
        """How far the readout moves, (B, 2) x y, or None for an encoder that doesn't follow the eye."""
        if not self.shifters:
            return None
        if pupil is None:
            raise ValueError(f"NeuralEncoder: follows the eye, but {animal} has no pupil; build it with shift=False")
        return self.shifters[animal](pupil)
