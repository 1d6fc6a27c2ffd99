"""Hrrformer: attention by holographic reduced representations, all pairs of key and value laid into one vector.

B batch, N tokens, H heads, d channels of a head, S frequencies of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Inverse = Callable[[Tensor], Tensor]
"""The spectrum of a query to that of its inverse under circular convolution."""


def involution(spectrum: Tensor) -> Tensor:
    """conj(F q): the approximate inverse, exact for vectors whose frequencies all have size one; it cannot blow up."""
    return spectrum.conj()


def exact(spectrum: Tensor, eps: float = 1e-12) -> Tensor:
    """1 / F q, as conj(F q) / (|F q|^2 + eps): undoes the binding, and turns up what a query has little of."""
    return spectrum.conj() / (spectrum.abs().square() + eps)


class Holographic(nn.Module):
    """How much of its own value each token gets back from the sum of all bindings decides how much of it is kept.

    b = sum_m k_m * v_m,    u_n = q_n^-1 * b,    o_n = softmax_n(cos(v_n, u_n)) v_n,    with * circular convolution

    The softmax goes over tokens, so no value is mixed with another: each is weighed. Products stay in the frequency
    domain, and so does the cosine (Parseval), which spares the way back.

    Args:
        inverse: ``involution``, as in the package that the authors' experiments ran with, or ``exact``, as in their
            paper.

    Reference: Alam et al., Hrrformer, arXiv 2305.19534. Differs: padding is left out of b, whereas the released code
    masks the softmax alone.
    """

    def __init__(self, inverse: Inverse = involution) -> None:
        super().__init__()
        self.inverse = inverse

    def linear(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d) through the sum of all bindings."""
        spectra = self._spectra(q, k, v, mask)
        return self._weigh(v, spectra[2], self.inverse(spectra[0]) * spectra[1].sum(2, keepdim=True), mask)

    def direct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, d), each binding undone by each query before they are added up; for comparison alone."""
        asked, bound, held = self._spectra(q, k, v, mask)
        found = (self.inverse(asked)[..., :, None, :] * bound[..., None, :, :]).sum(-2)
        return self._weigh(v, held, found, mask)

    def pays(self, N: int, d: int) -> bool:
        """True: ``linear`` always takes less work."""
        return True

    def _spectra(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Of queries, of bindings and of values (B, H, N, S)."""
        asked, keys, held = (torch.fft.rfft(part) for part in (q, k, v))
        bound = keys * held
        return asked, bound if mask is None else bound * mask[:, None, :, None], held

    def _weigh(self, v: Tensor, held: Tensor, found: Tensor, mask: Tensor | None) -> Tensor:
        """softmax_n(cos(v_n, u_n)) v_n, from the spectra of v and u."""
        d = v.shape[-1]
        # a real vector's spectrum is stored in half: all but the first frequency, and the middle one, stand for two
        twice = torch.full(found.shape[-1:], 2.0, dtype=v.dtype, device=v.device)
        twice[0] = 1
        if d % 2 == 0:
            twice[-1] = 1
        dot = (held.real * found.real + held.imag * found.imag) @ twice / d
        size = (found.real.square() + found.imag.square()) @ twice / d
        cosine = dot / (v.norm(dim=-1) * size.clamp(min=1e-24).sqrt()).clamp(min=1e-12)
        if mask is not None:
            cosine = cosine.masked_fill(~mask[:, None], torch.finfo(v.dtype).min)
        return cosine.softmax(-1)[..., None] * v * (1 if mask is None else mask[:, None, :, None])
