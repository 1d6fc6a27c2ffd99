"""The convolution as a product of spectra, O(N log N); padded so that the end of a sequence never meets its start."""

from __future__ import annotations

import torch
from torch import Tensor


def cannot_run(u: Tensor, *_: Tensor) -> str | None:
    """Needs float32 or float64."""
    return None if u.dtype in (torch.float32, torch.float64) else f"needs float32 or float64, got {u.dtype}"


def run(u: Tensor, k: Tensor) -> Tensor:
    """y = k * u over axis 1 of u and axis 0 of k."""
    N = u.shape[1]
    n = _fast_length(N + len(k) - 1)
    spectrum = torch.fft.rfft(u, n, dim=1) * torch.fft.rfft(k, n, dim=0)
    return torch.fft.irfft(spectrum, n, dim=1)[:, :N]


def _fast_length(least: int) -> int:
    """The next 2^a, 3 * 2^a or 5 * 2^a; a transform of a prime length takes five times as long."""
    return min(odd << max(0, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5))
