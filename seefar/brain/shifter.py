"""Where the eye looks, as a shift of all receptive fields."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Shifter(nn.Module):
    """Turns the centre of a pupil into how far every receptive field moves over the picture.

    A perceptron with tanh after each of its layers, the last one too.

    Args:
        hidden: width of its layers.
        layers: how many.

    Shapes:
        (B, 2) pupil x y -> (B, 2) shift x y, in (-1, 1) where the picture reaches from -1 to 1.

    Reference: Lurz et al., arXiv 2011.05010; widths as in Li et al., V1T, arXiv 2302.03023.
    """

    def __init__(self, hidden: int = 5, layers: int = 3) -> None:
        super().__init__()
        if min(hidden, layers) < 1:
            raise ValueError(f"Shifter: hidden and layers must be positive, got {hidden} and {layers}")
        widths = [2, *[hidden] * (layers - 1), 2]
        self.layers = nn.Sequential(*[part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())])

    def forward(self, pupil: Tensor) -> Tensor:
        """The shift of each trial."""
        return self.layers(pupil)
