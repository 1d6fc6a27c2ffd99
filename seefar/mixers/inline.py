"""InLine attention: linear attention that subtracts the mean score in place of dividing by the sum.

B batch, N tokens, H heads, d channels of a head.
"""

from __future__ import annotations

from torch import Tensor, nn

from seefar.ops.linear_attention import linear_attention


class Inline(nn.Module):
    """Weights that sum to one because their mean is taken away, so that no two queries get the same ones.

    w_nm = (s q_n . k_m - s q_n . mean(k) + 1) / N,    o_n = sum_m w_nm v_m,    s = 1 / sqrt(d)

    Weights may be negative. Queries q and q' get equal weights just where q - q' meets no centred key, so never when
    the centred keys span all d directions; linear attention that divides gives q and 2 q the same ones.

    Args:
        tokens: N in the scale of scores, of the length it was trained at; None for that of the input.

    Reference: Han et al., InLine, arXiv 2412.06590, with the identity for its feature map, as in the released code.
    """

    def __init__(self, *, tokens: int | None = None) -> None:
        super().__init__()
        if tokens is not None and tokens < 1:
            raise ValueError(f"Inline: tokens must be at least 1, got {tokens}")
        self.tokens = tokens

    def direct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d), with the weights written out."""
        count, shown = _counted(k, mask)
        score = (q @ k.mT) * q.shape[-1] ** -0.5
        mean = (score * shown.mT).sum(-1, keepdim=True) / count
        weights = (score - mean) / (self.tokens or count) + 1 / count
        return (weights * shown.mT) @ v

    def linear(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d) through the sum of k_m v_m^T over centred keys."""
        count, shown = _counted(k, mask)
        mean_k, mean_v = ((part * shown).sum(2, keepdim=True) / count for part in (k, v))
        centred = (k - mean_k) * shown * q.shape[-1] ** -0.5 / (self.tokens or count)
        return linear_attention(q, centred, v, causal=False)[0] + mean_v

    def pays(self, N: int, d: int) -> bool:
        """Whether ``linear`` takes less work: from d tokens on."""
        return d <= N


def _counted(k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """How many keys are visible, one at least, (B or 1, 1, 1, 1), and which, (B or 1, 1, M or 1, 1)."""
    if mask is None:
        return k.new_full((1, 1, 1, 1), k.shape[2]), k.new_ones(1, 1, 1, 1)
    shown = mask[:, None, :, None].to(k.dtype)
    return shown.sum(2, keepdim=True).clamp(min=1), shown
