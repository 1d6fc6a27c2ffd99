"""Continuous delay: give back a smooth random signal as it was some time ago."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def delayed_noise(count: int, length: int, lag: int, *, band: float, seed: int) -> tuple[Tensor, Tensor]:
    """White noise below a highest frequency, and the same ``lag`` tokens later, both (count, length, 1).

    Every signal has a mean square of one; the delayed one begins with zeros.

    Args:
        count: signals.
        length: tokens.
        lag: tokens of delay, below ``length``.
        band: highest frequency in cycles a token, up to 0.5; ``lag * band`` cycles have to be held at once.
        seed: decides everything.

    Raises:
        ValueError: no signal fits: a lag outside of the sequence, or a band without a frequency in it.

    Reference: Gu et al., How to Train Your HiPPO, arXiv 2206.12037. Differs: each signal is scaled to a mean square of
    one.
    """
    if not 0 <= lag < length:
        raise ValueError(f"delayed_noise: lag must lie in [0, length), got {lag} for length {length}")
    if not 1 / length <= band <= 0.5:
        raise ValueError(f"delayed_noise: band must lie in [1 / length, 0.5] cycles a token, got {band}")
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(count, length // 2 + 1, dtype=torch.complex64, generator=generator)
    spectrum[:, torch.arange(length // 2 + 1) > band * length] = 0
    spectrum[:, 0] = 0
    signal = torch.fft.irfft(spectrum, length)
    signal = (signal / signal.square().mean(-1, keepdim=True).sqrt())[..., None]
    return signal, pad(signal[:, : length - lag], (0, 0, lag, 0))
