"""SOFT: attention by a Gaussian kernel in place of a softmax, through a few landmarks of the picture.

B batch, N tokens, D channels, H heads, d channels of a head, m landmarks; a grid is (rows, columns) with N = rows *
columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.newton_inverse import newton_inverse


def gaussian(q: Tensor, k: Tensor) -> Tensor:
    """exp(-|q_n - k_m|^2 / 2) of every pair, (..., N, M) for q (..., N, d) and k (..., M, d)."""
    apart = q.square().sum(-1)[..., :, None] + k.square().sum(-1)[..., None, :] - 2 * q @ k.mT
    return (-0.5 * apart.clamp(min=0)).exp()


class Landmarks(nn.Module):
    """One landmark for each square of ``ratio`` x ``ratio`` tokens: gelu(norm(W square)), the same W for every head.

    Raises:
        ValueError: squares do not fill the grid.
    """

    def __init__(self, width: int, grid: tuple[int, int], ratio: int) -> None:
        super().__init__()
        if ratio < 1 or min(grid) < 1 or grid[0] % ratio or grid[1] % ratio:
            raise ValueError(
                f"Landmarks: squares of {ratio} x {ratio} tokens do not fill a grid of {grid[0]} x {grid[1]}; choose a "
                "ratio that divides both, or pad the picture"
            )
        self.grid = grid
        self.gather = nn.Conv2d(width, width, ratio, ratio, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, q: Tensor) -> Tensor:
        """(B, H, m, d) for q (B, H, N, d)."""
        squares = self.gather(q.flatten(0, 1).mT.unflatten(-1, self.grid))
        return F.gelu(self.norm(squares.flatten(2).mT)).unflatten(0, q.shape[:2])


class GaussianAttention(Mixer):
    """Each token takes values from tokens that are like it, by way of the landmarks that both are like.

    y = W_o (K Z K^T v + c * v),    q = W_q x / d^(1/4),    v = W_v x,    l = landmarks(q)

    K = gaussian(q, l),    A = gaussian(l, l),    Z = S A^+ S,    S = diag(A 1)^(-1/2), or 1 where not ``symmetric``

    with A^+ from ``steps`` of Newton's iteration. Without S, K Z K^T is Nyström's approximation to the full kernel
    matrix gaussian(q, q), which it meets where every token is a landmark; what comes out then grows with the number of
    tokens that are alike, and S takes that away. Keys are the queries, which keeps the kernel symmetric and A without
    negative eigenvalues. c is a filter of ``near`` x ``near`` on the grid, one for each head.

    Every token sees all others, so it is not causal: it holds no state and refuses one. Work and memory grow with N m.

    Args:
        grid: (rows, columns) of tokens.
        ratio: side of the square of tokens that gives one landmark.
        symmetric: with S (SOFT++, arXiv 2207.03341), where A^+ also starts smaller if need be; otherwise without
            (arXiv 2110.11945), where 0.01 is added to the diagonal of A.
        near: odd; 0 for no filter.
        steps: of the iteration.

    Raises:
        ValueError: a grid that does not hold the tokens, squares that do not fill it, heads that do not divide ``dim``,
            or a state.

    Example:
        >>> mixer = GaussianAttention(8, 2, (4, 6), ratio=2)
        >>> mixer(torch.randn(1, 24, 8))[0].shape
        torch.Size([1, 24, 8])

    Reference: Lu et al., SOFT, arXiv 2207.03341, as released. Differs: each matrix has a start of its own, 1.8
    instead of 2 in SOFT++, which gives zero for landmarks far apart; in half precision, kernels and their inverse are
    float32.
    """

    causal, bounded = False, True

    def __init__(
        self,
        dim: int,
        heads: int,
        grid: tuple[int, int],
        *,
        ratio: int = 4,
        symmetric: bool = True,
        near: int = 3,
        steps: int = 20,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"GaussianAttention: heads must divide dim={dim}, got {heads}")
        if near < 0 or (near and near % 2 == 0):
            raise ValueError(f"GaussianAttention: near is the odd side of a filter, or 0, got {near}")
        self.heads, self.grid, self.symmetric, self.steps = heads, grid, symmetric, steps
        self.q_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.landmarks: nn.Module = Landmarks(dim // heads, grid, ratio)
        self.near = nn.Conv2d(heads, heads, near, padding=near // 2, groups=heads, bias=False) if near else None

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Mix x (B, N, D)."""
        if state is not None:
            raise ValueError("GaussianAttention: every token sees all, so there is no state to go on from")
        rows, columns = self.grid
        if x.shape[1] != rows * columns:
            raise ValueError(
                f"GaussianAttention: a grid of {rows} x {columns} has {rows * columns} tokens, got {x.shape[1]}; set "
                "grid, and leave out a class token, which has no place on it"
            )
        q, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.v_proj))
        o = self.attend(q, v)
        if self.near is not None:
            o = o + self._nearby(v)
        return self.o_proj(o.transpose(1, 2).flatten(2)), None

    def attend(self, q: Tensor, v: Tensor) -> Tensor:
        """K Z K^T v, (B, H, N, e) for W_q x (B, H, N, d) and values (B, H, N, e)."""
        q = q * q.shape[-1] ** -0.25
        exact = torch.promote_types(q.dtype, torch.float32)
        landmarks = self.landmarks(q).to(exact)
        with torch.autocast(q.device.type, enabled=False):
            met, among = gaussian(q.to(exact), landmarks), gaussian(landmarks, landmarks)
            if self.symmetric:
                sizes = among.sum(-1).rsqrt()
                inverse = newton_inverse(among, steps=self.steps, halvings=10)
                inverse = sizes[..., :, None] * inverse * sizes[..., None, :]
            else:
                ridge = 0.01 * torch.eye(among.shape[-1], dtype=exact, device=q.device)
                inverse = newton_inverse(among + ridge, steps=self.steps)
            return (met @ (inverse @ (met.mT @ v.to(exact)))).to(v.dtype)

    def _nearby(self, v: Tensor) -> Tensor:
        """The filter of each head over v (B, H, N, d), one channel like the other."""
        assert self.near is not None
        maps = v.permute(0, 3, 1, 2).flatten(0, 1).unflatten(-1, self.grid)
        return self.near(maps).flatten(2).unflatten(0, (len(v), -1)).permute(0, 2, 3, 1)
