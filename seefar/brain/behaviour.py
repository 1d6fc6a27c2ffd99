"""What an animal does, as a shift of every token: behaviour mixed into what a network sees."""

from __future__ import annotations

from torch import Tensor, nn


class BehaviourMLP(nn.Module):
    """Turns what the animal does into a vector to be added to all tokens alike.

    y = tanh(W_2 tanh(W_1 b)),    W_1 half as wide as y

    Args:
        inputs: numbers that describe the behaviour in a trial.
        dim: width of the tokens.

    Shapes:
        (B, inputs) -> (B, dim), in (-1, 1).

    Reference: Li et al., V1T, arXiv 2302.03023. Differs: no dropout.
    """

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        if inputs < 1 or dim < 2:
            raise ValueError(f"BehaviourMLP: needs an input and a width of 2 or more, got {inputs} and {dim}")
        self.layers = nn.Sequential(nn.Linear(inputs, dim // 2), nn.Tanh(), nn.Linear(dim // 2, dim), nn.Tanh())

    def forward(self, behaviour: Tensor) -> Tensor:
        """The vector of each trial."""
        return self.layers(behaviour)
