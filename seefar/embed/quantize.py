"""Vector quantisation: vectors replaced by the nearest of a few codes, which follow the vectors they stand for.

S codes, Z channels of a code, M vectors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """What vectors (.., Z) became: the codes in their place (.., Z), and which they are (..) int64."""

    codes: Tensor
    which: Tensor


class VectorQuantizer(nn.Module):
    """Each vector is replaced by its nearest code; codes are moving means of the vectors that chose them.

    z = argmin_s |k - C_s|^2,    k^ = C_z,    with the gradient of k^ handed to k as it is (straight-through)

    After every call in training: n_s <- decay n_s + (1 - decay) (vectors that chose s), likewise their sums, and C_s is
    the sum over n_s, smoothed so that no code is divided by nothing. The first batch in training gives the codes at
    the start: vectors drawn from it. Codes are buffers, not weights. While they learn, what comes out depends on the
    calls before; in eval mode they stand still.

    The commitment beta mean |k - sg(C_z)|^2, which holds vectors near their codes in training, needs no place in the
    loss: its gradient is added on the way back, once for every gradient of a loss that is not scaled.

    Args:
        codes: S.
        dim: Z.
        decay: of the moving means.
        commitment: beta; 0 for none.

    Raises:
        ValueError: fewer than two codes; when called: another width, half precision of the counts, or in eval mode
            before any training.

    Example:
        >>> quantizer = VectorQuantizer(4, 8)
        >>> k = torch.randn(2, 50, 8)
        >>> found = quantizer(k)  # in training: the codes begin with vectors of the batch
        >>> found.codes.shape, found.which.shape, int(quantizer.usage(found.which).sum())
        (torch.Size([2, 50, 8]), torch.Size([2, 50]), 100)

    Reference: van den Oord et al., arXiv 1711.00937, appendix A.1, for moving means; Lingle, Transformer-VQ, arXiv
    2309.16354, for keys.
    """

    code: Tensor
    counts: Tensor
    sums: Tensor
    ready: Tensor

    def __init__(self, codes: int, dim: int, *, decay: float = 0.99, commitment: float = 1e-4) -> None:
        super().__init__()
        if codes < 2 or dim < 1:
            raise ValueError(f"VectorQuantizer: needs two codes and a channel at least, got {codes=}, {dim=}")
        if not 0 <= decay < 1 or commitment < 0:
            raise ValueError(
                f"VectorQuantizer: decay lies in [0, 1) and commitment is not negative, got {decay}, {commitment}"
            )
        self.decay, self.commitment = decay, commitment
        self.register_buffer("code", torch.zeros(codes, dim))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, dim))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, k: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantise k (.., Z); where ``mask`` (..) is False, a vector teaches the codes nothing."""
        if k.shape[-1] != self.code.shape[1]:
            raise ValueError(f"VectorQuantizer: codes have {self.code.shape[1]} channels, got {tuple(k.shape)}")
        if self.counts.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"VectorQuantizer: counts in {self.counts.dtype} lose vectors beyond some hundreds; "
                "call .float() on the quantizer, its input may be of any dtype"
            )
        if not (self.ready or self.training):
            raise ValueError("VectorQuantizer: it has no codes yet; run a batch in training mode, or load its state")
        exact = k.detach().to(self.code.dtype)
        taught = exact.flatten(0, -2) if mask is None else exact[mask]
        if not self.ready:
            self._begin(taught)
        index = self._nearest(exact)
        code = self.code[index].to(k.dtype)
        if self.training:
            self._learn(taught, index.flatten() if mask is None else index[mask])
        return Quantized(_StraightThrough.apply(k, code, self.commitment if self.training else 0.0), index)

    def usage(self, index: Tensor) -> Tensor:
        """(S,) how many of the indices are each code."""
        return torch.bincount(index.flatten(), minlength=len(self.code))

    def entropy(self, index: Tensor) -> float:
        """Nats of the choice of a code: 0 where one is always chosen, log S where all are alike."""
        share = self.usage(index).double() / index.numel()
        return float(torch.special.entr(share).sum())

    def _nearest(self, k: Tensor) -> Tensor:
        # |k|^2 is the same for all codes
        return (self.code.square().sum(-1) - 2 * k @ self.code.mT).argmin(-1)

    @torch.no_grad()
    def _begin(self, k_MZ: Tensor) -> None:
        S = len(self.code)
        if not len(k_MZ):
            raise ValueError("VectorQuantizer: every vector of the first batch is masked, so there is nothing to learn")
        drawn = torch.cat([torch.randperm(len(k_MZ), device=k_MZ.device) for _ in range(math.ceil(S / len(k_MZ)))])
        self.code.copy_(k_MZ[drawn[:S]])
        self.sums.copy_(self.code)
        self.counts.fill_(1.0)
        self.ready.fill_(True)

    @torch.no_grad()
    def _learn(self, k_MZ: Tensor, index_M: Tensor) -> None:
        fresh = torch.zeros_like(self.counts).index_add_(0, index_M, torch.ones_like(k_MZ[:, 0]))
        self.counts.lerp_(fresh, 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, index_M, k_MZ), 1 - self.decay)
        total = self.counts.sum()
        smooth = (self.counts + 1e-5) / (total + 1e-5 * len(self.counts)) * total
        # a code that none chooses any more stays where it is, instead of shrinking to zero
        alive = self.counts > 1e-3
        self.code.copy_(torch.where(alive[:, None], self.sums / smooth[:, None].clamp(min=1e-12), self.code))


class _StraightThrough(torch.autograd.Function):
    """The codes forward; backward the gradient to the vectors, with that of the commitment added."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, code: Tensor, commitment: float) -> Tensor:
        ctx.save_for_backward(k, code)
        ctx.commitment = commitment
        return code.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        k, code = ctx.saved_tensors
        vectors = k.numel() // k.shape[-1]
        return grad + 2 * ctx.commitment / vectors * (k - code), None, None
