"""Rotary position embedding: a token's place turns its queries and keys, so that their products see distances alone.

B batch, H heads, N tokens, d channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Rope:
    """Turn each pair of channels by an angle that grows with the position.

    (x_i, x_{i + d/2}) is turned by p * base^(-2i/d) for i = 0 .. d/2 - 1: the halves of a head are paired, as in Llama
    and transformers' ``apply_rotary_pos_emb`` (weights trained on neighbouring pairs need their channels permuted).
    Angles are float64, since those of float32 are off by some hundredths of a radian at a position of 1e6.

    Args:
        head_dim: channels of one head, even.
        base: the slowest pair turns once in about 2 pi * base positions.

    Example:
        >>> rope = Rope(8)
        >>> q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
        >>> at = lambda x, p: rope(x, torch.tensor([p]))
        >>> bool(torch.isclose((at(q, 3) * at(k, 1)).sum(), (at(q, 1002.5) * at(k, 1000.5)).sum()))
        True

    Reference: Su et al., RoFormer, arXiv 2104.09864. Differs: pairs are halves, not neighbours.
    """

    def __init__(self, head_dim: int, base: float = 10_000.0) -> None:
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"Rope: head_dim must be even and positive, got {head_dim}")
        if base <= 0:
            raise ValueError(f"Rope: base must be positive, got {base}")
        self.head_dim = head_dim
        self.base = base

    def __repr__(self) -> str:
        return f"Rope({self.head_dim}, base={self.base})"

    def __call__(self, x_BHNd: Tensor, positions: Tensor) -> Tensor:
        """The heads (B, H, N, d), turned; ``positions`` (N,) or (B, N), whole or broken numbers, seconds too."""
        B, _, N, d = x_BHNd.shape
        if d != self.head_dim:
            raise ValueError(f"Rope: heads have {d} channels, this Rope was made for {self.head_dim}")
        if tuple(positions.shape) not in ((N,), (B, N), (1, N)):
            raise ValueError(f"Rope: positions must be ({N},) or ({B}, {N}), got {tuple(positions.shape)}")
        turns = torch.arange(0, d, 2, dtype=torch.float64, device=x_BHNd.device) / d
        angles = positions.to(x_BHNd.device, torch.float64)[..., None] * self.base**-turns
        exact = torch.promote_types(x_BHNd.dtype, torch.float32)
        if angles.ndim == 3:
            angles = angles[:, None]  # (B, 1, N, d/2) spreads over the heads as (N, d/2) does
        cos, sin = angles.cos().to(exact), angles.sin().to(exact)
        first, second = x_BHNd.to(exact).chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x_BHNd.dtype)
