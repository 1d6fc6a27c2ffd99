"""An implicit filter with fewer taps or fewer frequencies than it could have: the rest is never computed.

B batch, N tokens, M heads, S signals of a head, T taps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision
from seefar.mixers.hyena import ConvState, ImplicitConv
from seefar.ops.fft_conv import fft_conv


class PartialConv(Mixer):
    """Filters by the first ``keep_time`` taps of an implicit filter, or by some of its frequencies.

    y_t = D x_t + sum_s h_s x_{t-s},    s < keep_time,    of h only the kept frequencies

    With ``keep_time`` a stream holds the last inputs alone, so it is ``bounded``: a model goes on beyond the lengths of
    its training at one price a token. With ``keep_freq`` it isn't causal and takes no state, since what is cut sharply
    in frequency reaches ahead a little. D acts at once and keeps all frequencies.

    Args:
        implicit: gives the taps and D; for ``Hyena(dim, conv=PartialConv(...))`` with as many heads as Hyena has.
        keep_time: T; None for as many taps as tokens.
        keep_freq: as in ``fft_conv``, with ``factors``.
        factors: of the transforms.
        backend: of ``fft_conv``.

    Reference: Fu et al., FlashFFTConv, arXiv 2311.05908, partial and frequency-sparse convolutions.
    """

    def __init__(
        self,
        implicit: ImplicitConv,
        *,
        keep_time: int | None = None,
        keep_freq: Sequence[int] | None = None,
        factors: Sequence[int] | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if keep_time is not None and keep_time < 1:
            raise ValueError(f"PartialConv: keep_time must be at least 1 tap, or None for all, got {keep_time}")
        self.implicit, self.keep_time = implicit, keep_time
        self.keep_freq, self.factors, self.backend = keep_freq, factors, backend
        self.causal, self.bounded = keep_freq is None, keep_freq is None and keep_time is not None

    def forward(self, x: Tensor, state: ConvState | None = None) -> tuple[Tensor, ConvState | None]:
        """Filter x (B, N, M, S), going on from ``state``."""
        here_BNMS, N = x.to(full_precision(self.implicit)), x.shape[1]
        if self.keep_freq is not None:
            if state is not None:
                raise ValueError(
                    "PartialConv: with keep_freq it looks ahead, so it takes no state; give keep_time alone"
                )
            return self._filtered(here_BNMS, self._taps(N)).to(x.dtype), None
        before = here_BNMS.new_zeros(len(x), (self.keep_time or 1) - 1, *x.shape[2:]) if state is None else state[0]
        past_BNMS = torch.cat([before, here_BNMS], 1)
        total = past_BNMS.shape[1]
        taps_TM = None if state is None else state.taps_TM
        if taps_TM is None or (self.keep_time is None and len(taps_TM) < total):
            taps_TM = self._taps(1 << (total - 1).bit_length())
        if N == 1:
            reach = min(total, len(taps_TM))
            far = torch.einsum("bnms,nm->bms", past_BNMS[:, total - reach :], taps_TM[:reach].flip(0))[:, None]
            y_BNMS = far + self.implicit.D[:, None] * here_BNMS
        else:
            whole_BNMS = here_BNMS if state is None else past_BNMS  # zeros before a sequence need no filter
            y_BNMS = self._filtered(whole_BNMS, taps_TM)[:, -N:]
        held_BNMS = past_BNMS if self.keep_time is None else past_BNMS[:, N:].clone()
        return y_BNMS.to(x.dtype), ConvState(held_BNMS, taps_TM)

    def _taps(self, length: int) -> Tensor:
        """(T, M) taps without D."""
        taps_TM = self.implicit.kernel(self.keep_time or length)
        return torch.cat([taps_TM[:1] - self.implicit.D, taps_TM[1:]])

    def _filtered(self, x: Tensor, taps_TM: Tensor) -> Tensor:
        far = fft_conv(x, taps_TM[..., None], keep_freq=self.keep_freq, factors=self.factors, backend=self.backend)
        return far + self.implicit.D[:, None] * x
