"""One learnt matrix over the tokens: every place has a weight of its own for every other.

B batch, N tokens, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer


class TokenMatrix(Mixer):
    """Each token is a learnt sum over all places, the same for every channel: y_n = sum_m W_nm x_m + b_n.

    O(N^2) weights and time, and one length alone. It is not causal: it holds no state and refuses one. Two of them with
    a gelu between are the token mixing of MLP-Mixer.

    Args:
        length: N of every sequence.

    Reference: Tolstikhin et al., MLP-Mixer, arXiv 2105.01601. Differs: one matrix, so that it stays linear.
    """

    causal, bounded = False, True

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"TokenMatrix: a sequence has at least one token, got {length=}")
        self.weight = nn.Parameter(torch.randn(length, length) * length**-0.5)
        self.bias = nn.Parameter(torch.zeros(length, 1))

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Mix x (B, N, D)."""
        if state is not None:
            raise ValueError("TokenMatrix: every token sees all, so there is no state to go on from")
        if x.shape[1] != len(self.weight):
            raise ValueError(f"TokenMatrix: made for {len(self.weight)} tokens, got {x.shape[1]}; pad or cut them")
        return self.weight @ x + self.bias, None
