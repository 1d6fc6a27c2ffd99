"""Bidirectional Mamba: each token is told what stands before it and what stands after it, by two scans that share
their projections.

B batch, N tokens, D channels, E inner channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.selective import Selection, select, selection


class BidirectionalMamba(Mixer):
    """Mamba read in both directions for the price of one pair of projections.

    u, z = W_in x;    y = W_out (s(u, z) + flip(s_b(flip(u), flip(z)))) / 2

    where s is what ``Mamba`` does between its projections, s_b the same with weights of its own: convolution, step,
    input, readout, decay and skip. It is not causal: it holds no state and refuses one. Weights are named and shaped
    as in the authors' mixer (``bimamba_type="v2"``), whose state dict loads as it is.

    Args:
        d_state: S, traces per inner channel.
        expand: inner channels E over ``dim``, rounded to whole channels.
        d_conv: K, taps of the convolution before each scan.
        dt_rank: R, None for ceil(dim / 16).
        bias: of the projections in and out.
        conv_bias: of the convolutions.
        depth: mixers in the column this one stands in; W_out begins 1 / sqrt(depth) as large, so that their sum
            begins no larger than one.

    Reference: Zhu et al., Vision Mamba, arXiv 2401.09417. Differs: both directions begin as Mamba does; the released
    code leaves the bias of the backward step at 0, a first step of 0.69.
    """

    causal, bounded = False, True

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 16,
        expand: float = 2,
        d_conv: int = 4,
        dt_rank: int | None = None,
        bias: bool = False,
        conv_bias: bool = True,
        depth: int = 1,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"BidirectionalMamba: depth must be at least 1, got {depth}")
        ahead, back = (
            selection(
                "BidirectionalMamba",
                dim,
                d_state=d_state,
                expand=expand,
                d_conv=d_conv,
                dt_rank=dt_rank,
                conv_bias=conv_bias,
            )
            for _ in range(2)
        )
        inner = len(ahead.D)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=bias)
        self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D = ahead
        self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b = back
        self.out_proj = nn.Linear(inner, dim, bias=bias)
        with torch.no_grad():
            self.out_proj.weight /= depth**0.5

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """Mix x (B, N, D) both ways; a ``state`` is refused."""
        if state is not None:
            raise ValueError(
                "BidirectionalMamba: the scan from the end needs the whole sequence, so there is no state to go on "
                "from; stream with Mamba instead"
            )
        u_BNE, z_BNE = self.in_proj(x).chunk(2, -1)
        ahead = Selection(self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)
        back = Selection(self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b)
        y_BNE, _ = select(ahead, u_BNE, z_BNE)
        back_BNE, _ = select(back, u_BNE.flip(1), z_BNE.flip(1))
        return self.out_proj(((y_BNE + back_BNE.flip(1)) / 2).to(x.dtype)), None
