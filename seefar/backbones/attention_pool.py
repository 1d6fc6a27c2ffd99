"""One vector for each picture of a row, read off its tokens by attention.

B batch, N tokens, D channels, H heads, d channels of a head, S places for pictures in a row, M pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seefar.ops.attention import attention


class AttentionPool(nn.Module):
    """A learned query looks at the tokens of each picture, and an MLP at what it brings back.

    y = W_o sum_n softmax_n(q . W_k x_n / sqrt(d)) W_v x_n over the tokens of one picture,    q = W_q probe
    y <- y + W_2 gelu(W_1 norm(y)),    norm = LayerNorm with eps 1e-6

    Args:
        dim: width D.
        heads: of attention.
        mlp_ratio: width of the MLP over ``dim``; 0 leaves the MLP out.
        bias: of the four projections and of the norm.
        backend: of ``ops.attention``; None for the fastest that can run.

    Shapes:
        x (B, N, D) -> (B, D); with segments (B, N) -> (M, D), one for each run of equal segments that are not
        negative, row by row.

    Reference: Zhai et al., multihead attention pooling, arXiv 2106.04560; one query for each picture of a packed row:
    Dehghani et al., NaViT, arXiv 2307.06304.
    """

    def __init__(
        self, dim: int, heads: int, *, mlp_ratio: float = 4.0, bias: bool = True, backend: str | None = None
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"AttentionPool: heads must divide dim={dim}, got {heads}")
        if mlp_ratio < 0:
            raise ValueError(f"AttentionPool: mlp_ratio must not be negative, got {mlp_ratio}")
        self.heads, self.backend = heads, backend
        self.probe = nn.Parameter(torch.empty(dim))
        nn.init.trunc_normal_(self.probe, std=dim**-0.5)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=bias) for _ in range(4))
        hidden = round(dim * mlp_ratio)
        self.mlp: nn.Sequential | None = None
        if hidden:
            self.mlp = nn.Sequential(
                nn.LayerNorm(dim, eps=1e-6, bias=bias), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)
            )

    def forward(self, x: Tensor, segments: Tensor | None = None) -> Tensor:
        """What each row, or each picture of each packed row, comes to."""
        if segments is None:
            segments = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
        elif segments.shape != x.shape[:2] or segments.dtype != torch.int64:
            raise ValueError(
                f"AttentionPool: segments must be int64 {tuple(x.shape[:2])}, got {segments.dtype} "
                f"{tuple(segments.shape)}"
            )
        wanted = _pictures(segments)
        B, S = wanted.shape
        q_BHSd = self.q_proj(self.probe).reshape(1, self.heads, 1, -1).expand(B, -1, S, -1)
        k_BHNd, v_BHNd = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.k_proj, self.v_proj)
        )
        read_BHSd = attention(q_BHSd, k_BHNd, v_BHNd, segments=(wanted, segments), backend=self.backend)
        y = self.o_proj(read_BHSd.transpose(1, 2).flatten(2)[wanted >= 0])
        return y if self.mlp is None else y + self.mlp(y)


def _pictures(segments: Tensor) -> Tensor:
    """(B, S) the segments of each row in their order, -2 where there are no more: a segment that no token has."""
    first = torch.ones_like(segments, dtype=torch.bool)
    first[:, 1:] = segments.diff(dim=1) != 0
    first &= segments >= 0
    place = first.cumsum(1) - 1
    pictures = segments.new_full((len(segments), int(first.sum(1).max()) if segments.numel() else 0), -2)
    row, column = first.nonzero(as_tuple=True)
    pictures[row, place[row, column]] = segments[row, column]
    return pictures
