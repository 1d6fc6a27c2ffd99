"""Telling each pair from all others, in memory that grows with their number and not with its square.

M pairs, D channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seefar.ops.attention import attention


def contrastive(a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    """How badly each ``a`` finds its own ``b`` among all of them, and each ``b`` its own ``a``.

    loss = 1/(2 M) sum_i (log sum_j exp(s_ij) + log sum_j exp(s_ji) - 2 s_ii),    s_ij = scale a_i . b_j / (|a_i| |b_j|)

    The sums are those of an attention that never holds more than one tile of s, forward or backward. Packed rows hold
    many pictures each, so that M is several times what a batch of the same tokens used to hold.

    Args:
        a: (M, D), such as one vector for each picture, in the order of ``images_in``.
        b: (M, D), such as one vector for each text; b_i belongs to a_i.
        scale: inverse temperature, positive, such as ``log_scale.exp()`` of a parameter.

    Returns:
        The mean over pairs, a scalar; log M where nothing is told apart.

    Reference: Radford et al., CLIP, arXiv 2103.00020; in chunks for packed pictures: Dehghani et al., NaViT, arXiv
    2307.06304. Differs: chunks are tiles on one device.
    """
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(
            f"contrastive: needs two (M, D) of one shape, M >= 1, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = F.normalize(a, dim=-1) * scale, F.normalize(b, dim=-1)
    return (_log_sums(a, b) + _log_sums(b, a)).mean() / 2 - (a * b).sum(-1).mean()


def _log_sums(q: Tensor, k: Tensor) -> Tensor:
    """(M,) the log of the sum over j of exp(q_i . k_j)."""
    q, k = q[None, None], k[None, None]
    return attention(q, k, k[..., :1], scale=1.0, return_lse=True)[1][0, 0]
