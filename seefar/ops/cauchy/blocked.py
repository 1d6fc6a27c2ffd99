"""The sums in real numbers, some points at a time, as products of matrices; the gradient makes each block anew."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK = {"cpu": 1 << 16, "other": 1 << 24}
"""Numbers of a block: on the CPU they stay in its cache, elsewhere fewer blocks are faster."""


def cannot_run(v: Tensor, *_: Tensor) -> str | None:
    """Needs complex64 or complex128."""
    return None if v.dtype in (torch.complex64, torch.complex128) else f"needs complex64 or complex128, got {v.dtype}"


def run(v: Tensor, pole: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Both poles of a pair over their common denominator, (4 i s Re v - 2 c Re(v conj p)) / den."""
    block = BLOCK.get(v.device.type, BLOCK["other"])
    size = max(16, block // max(1, pole.numel()))
    given = real_parts(v, pole)
    sums: list[Tensor] = [
        checkpoint(_sums, *given, s, c, use_reentrant=False, preserve_rng_state=False)
        for s, c in zip(sine.split(size), cosine.split(size), strict=True)
    ]
    return torch.cat(sums, -1)


def real_parts(v: Tensor, pole: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Re v and Re(v conj p), (D, R, H); Re p and abs p, (D, H)."""
    return v.real, (v * pole.conj()[:, None]).real, pole.real, pole.abs()


def _sums(x: Tensor, y: Tensor, real: Tensor, size: Tensor, s: Tensor, c: Tensor) -> Tensor:
    """den = (c^2 abs(p)^2 - 4 s^2) - 4 i s c Re p, its real part as a product so that no digits are lost near zero."""
    R, s, c = x.shape[1], s[:, None], c[:, None]
    reach = c * size[:, None]
    den_real = (reach - 2 * s) * (reach + 2 * s)
    den_imag = -4 * s * c * real[:, None]
    scale = 1 / (den_real * den_real + den_imag * den_imag)
    weights = torch.cat([x, y], 1).mT
    a, b = ((den_real * scale) @ weights).split(R, -1)
    e, f = ((den_imag * scale) @ weights).split(R, -1)
    return torch.complex(4 * s * e - 2 * c * b, 4 * s * a + 2 * c * f).mT
