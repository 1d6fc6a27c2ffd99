"""Whether attention can tell queries apart: how many get the same weights as another that is not the same."""

from __future__ import annotations

import torch

from seefar.mixers.two_form import Score


def doubles_collide(score: Score, *, queries: int = 256, keys: int = 512, width: int = 32, seed: int = 0) -> float:
    """Share of random queries whose weights over random keys are those of their doubles, within 1e-6 in the norm.

    Args:
        score: how queries meet keys.
        queries: tried, at most as many as keys.
        keys: they meet.
        width: of both.
        seed: decides them.

    Reference: Han et al., InLine, arXiv 2412.06590, whose proof that linear attention is not injective uses such pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 1, keys, width, generator=generator, dtype=torch.float64).unbind()
    one = torch.eye(keys, dtype=torch.float64)[None, None]  # as values, it brings the weights out
    apart = (score.direct(2 * q, k, one) - score.direct(q, k, one))[:, :, :queries].norm(dim=-1)
    return float((apart < 1e-6).double().mean())
