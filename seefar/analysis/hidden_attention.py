"""The attention that hides in Mamba: how much of each earlier token the scan holds at a later one.

B batch, R rows, N tokens, E inner channels, S states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.mixers.selective import Mamba, drive


@torch.no_grad()
def hidden_attention(mixer: Mamba, x: Tensor, *, rows: int | None = None) -> Tensor:
    """(B, E, R, N) the weight of the scan's input u at token j, by column, in its output at token i, by row.

    alpha_ij = sum_s C_is exp(A_s (dt_{j+1} + ... + dt_i)) B_js dt_j for j <= i, else 0; before the gate the output is
    y = alpha u + D u.

    Args:
        mixer: whose scan is looked at.
        x: (B, N, D) what goes into it.
        rows: how many of the last tokens to give; None for all.

    Reference: Ali et al., The Hidden Attention of Mamba Models, arXiv 2403.01590; used in DeciMamba, arXiv 2406.14528.
    """
    N = x.shape[1]
    if rows is not None and not 1 <= rows <= N:
        raise ValueError(f"hidden_attention: rows lie in [1, {N}], got {rows}")
    _, dt_BNE, B_BNS, C_BNS = drive(mixer.selection, mixer.in_proj(x).chunk(2, -1)[0])[0]
    first = 0 if rows is None else N - rows
    rates_ES = -mixer.A_log.double().exp()
    sums_BNE = dt_BNE.double().cumsum(1)  # differences of long sums must still be exact
    since_BRNE = (sums_BNE[:, first:, None] - sums_BNE[:, None]).clamp_min(0)
    weights = torch.zeros_like(since_BRNE, dtype=dt_BNE.dtype)
    for s in range(rates_ES.shape[1]):
        met_BRN = C_BNS[:, first:, None, s] * B_BNS[:, None, :, s]
        weights += met_BRN[..., None] * (rates_ES[:, s] * since_BRNE).exp().to(weights.dtype)
    return (weights * dt_BNE[:, None]).permute(0, 3, 1, 2).tril(first)


def mean_distance(weights: Tensor) -> Tensor:
    """(.., R) how many tokens back the weights (.., R, N) of the last R tokens lie: their mean by absolute weight.

    d_i = sum_j |w_ij| (i - j) / sum_j |w_ij|. For a layer that reads all it was given d grows like N; one that stays
    where it was in training forgets what came before.

    Reference: Ben-Kish et al., DeciMamba, arXiv 2406.14528.
    """
    R, N = weights.shape[-2:]
    back = torch.arange(N - R, N, device=weights.device)[:, None] - torch.arange(N, device=weights.device)
    size = weights.abs()
    return (size * back).sum(-1) / size.sum(-1).clamp_min(torch.finfo(weights.dtype).tiny)
