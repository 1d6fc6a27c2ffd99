"""ConvLSTM: an LSTM at each place of a picture, whose gates see the places around it.

B batch, N frames, H W places, D channels, k side of the kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.conv_ssm import check_pictures, conv_frames, he_kernel


class ConvLSTMState(NamedTuple):
    """What every place shows and what it keeps."""

    h_BHWD: Tensor
    c_BHWD: Tensor


class ConvLSTM(Mixer):
    """Write, keep and show by gates that are convolutions over the frame and over what was shown before.

    i, f, o, g = W * [u_n, h_{n-1}],    c_n = s(f) c_{n-1} + s(i) tanh(g),    h_n = s(o) tanh(c_n)

    with s the logistic function. Tokens are pictures: x is (B, N, H, W, D). The kernel's part over u_n takes all
    frames at once; the part over h_{n-1} has to wait for each, so frames are passed one after another.

    Args:
        kernel: k, odd.

    Reference: Shi et al., arXiv 1506.04214, as the baseline of arXiv 2310.19694: no bias, no peepholes.
    """

    causal, bounded = True, True

    def __init__(self, dim: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_kernel(4 * dim, 2 * dim, kernel))

    def forward(self, x: Tensor, state: ConvLSTMState | None = None) -> tuple[Tensor, ConvLSTMState]:
        """Mix x (B, N, H, W, D), going on from ``state``."""
        D = self.weight.shape[1] // 2
        check_pictures(x, D, None if state is None else state.h_BHWD)
        over_u, over_h = self.weight.split(D, 1)
        h = c = x.new_zeros(x[:, 0].shape)
        if state is not None:
            h, c = state
        shown = []
        for driven in conv_frames(x, over_u).unbind(1):
            i, f, o, g = (driven + conv_frames(h[:, None], over_h)[:, 0]).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            shown.append(h)
        return torch.stack(shown, 1), ConvLSTMState(h, c)
