"""How much a token matters to the others, read from attention weights alone: a few steps of PageRank.

B batch, H heads, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pagerank(links: Tensor, steps: int = 5) -> Tensor:
    """Where a walker stands after some steps, who began anywhere with equal chance; no damping.

    p_0 = 1/N,    p_{t+1} = p_t M

    Many steps approach the left eigenvector of M with eigenvalue 1, where there is one such. Takes O(steps N^2) time.

    Args:
        links: (..., N, N) chances M, each row summing to 1; M_ij leads from i to j.
        steps: how often the walker moves; 0 leaves the uniform start.

    Returns:
        (..., N) chances that sum to 1.

    Raises:
        ValueError: links are not square, or steps is negative.
    """
    if links.ndim < 2 or links.shape[-1] != links.shape[-2]:
        raise ValueError(f"pagerank: links must be (..., N, N), got {tuple(links.shape)}")
    if steps < 0:
        raise ValueError(f"pagerank: steps must be at least 0, got {steps}")
    N = links.shape[-1]
    p = links.new_full((*links.shape[:-2], 1, N), 1 / max(N, 1))
    for _ in range(steps):
        p = p @ links
    return p.squeeze(-2)


def attention_pagerank(weights: Tensor, *, tau: float = 0.1, steps: int = 5) -> Tensor:
    """The importance of AIM: PageRank over sharpened attention, head by head, then the root of the mean square.

    M = softmax(A / tau) over the logits A. It needs only W = softmax(A), because they differ by a constant in each row:
    M = W^(1/tau) / sum W^(1/tau). A hidden link (weight 0) stays hidden.

    Args:
        weights: (B, H, N, N) attention weights W, queries by keys.
        tau: below 1 sharpens.
        steps: of PageRank.

    Returns:
        (B, N) in [0, 1], at least float32.

    Raises:
        ValueError: weights are not (B, H, N, N), tau is not positive, or steps is negative.

    Reference: Zhong et al., AIM, arXiv 2412.03248.
    """
    if weights.ndim != 4 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(f"attention_pagerank: weights must be (B, H, N, N), got {tuple(weights.shape)}")
    if not tau > 0:
        raise ValueError(f"attention_pagerank: tau must be positive, got {tau}")
    logits = weights.to(torch.promote_types(weights.dtype, torch.float32)).log() / tau
    return pagerank(logits.softmax(-1), steps).square().mean(1).sqrt()
