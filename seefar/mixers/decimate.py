"""Decimation: Mamba layers that pass on only the tokens at which they took their longest steps.

B batch, N tokens, K kept tokens, D channels, E inner channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.block import Block, Stack
from seefar.mixers.selective import Mamba, MambaState, drive, scan


class Keep(NamedTuple):
    """How many tokens the i-th decimating layer keeps of L candidates: max(min(L, base beta^i), minimum), L at most.

    Args:
        base: of the first such layer; the length of training, or a few times that.
        beta: part of them for each next one.
        minimum: no layer keeps fewer.
    """

    base: int = 2000
    beta: float = 0.5
    minimum: int = 20

    def __call__(self, i: int, candidates: int) -> int:
        """Of the i-th decimating layer, counted from 0."""
        return min(candidates, max(min(candidates, int(self.base * self.beta**i)), self.minimum))


Score = Callable[[Tensor], Tensor]


def step_norm(dt_BNE: Tensor) -> Tensor:
    """(B, N) length of each token's steps over all channels: what hardly moved any state is not missed."""
    return dt_BNE.norm(dim=-1)


def evenly(dt_BNE: Tensor) -> Tensor:
    """(B, N) scores by place alone, the best of which are spread over the text; the control of ``step_norm``."""
    # multiples of the golden ratio: any few of the best ones lie about as far apart as they can
    place = torch.arange(dt_BNE.shape[1], device=dt_BNE.device, dtype=torch.float64)
    return (place * 0.6180339887498949 % 1).to(dt_BNE.dtype).expand(len(dt_BNE), -1)


class DecimatedState(NamedTuple):
    """The states of all layers, and which tokens of the first call came out of it, (B, K) int64, ascending."""

    inner: tuple[Any, ...]
    kept_BK: Tensor


class Decimated(nn.Module):
    """A stack that reads a long text once and lets fewer tokens through at some of its Mamba layers.

    In such a layer, after the convolution has run and the steps dt are known, the K tokens with the highest
    s_t = |dt_t| are kept; u, dt, B, C, the gate and the residual stream all lose the others, so that every later layer
    runs on the shorter text: what grows too long for the state is left out before it is scanned. Tokens of the response
    at the end are no candidates and all stay.

    ``(y, state) = decimated(x)`` with y (B, K, D) and ``state.kept_BK``; given a state it goes on as the stack itself
    does and drops nothing. So this is no ``Mixer``: one call is not the same as several. The weights are those of the
    stack, which is not changed; nothing needs training, and gradients go through what is kept.

    Args:
        stack: of Blocks.
        layers: which of its blocks decimate; their mixers are Mambas.
        keep: how many tokens stay.
        protect: tokens of the response at the end.
        score: (B, N, E) steps -> (B, N) scores.

    Raises:
        ValueError: no layer, one that isn't a block with a Mamba, a minimum above the base, or numbers below their
            least; when called, a text that is not longer than the response.

    Reference: Ben-Kish et al., DeciMamba, arXiv 2406.14528; the norm as in its code, where the paper says mean.
    Differs: any batch of texts of one length, each with its own tokens; padding is not known here, so it would be a
    candidate like any other.
    """

    def __init__(
        self,
        stack: Stack,
        layers: Sequence[int],
        *,
        keep: Keep | None = None,
        protect: int = 0,
        score: Score = step_norm,
    ) -> None:
        super().__init__()
        keep = keep or Keep()
        if not layers:
            raise ValueError("Decimated: name the layers that decimate, got none")
        for layer in layers:
            block = stack.blocks[layer] if 0 <= layer < len(stack.blocks) else None
            if not (isinstance(block, Block) and isinstance(block.mixer, Mamba)):
                raise ValueError(f"Decimated: layer {layer} of {len(stack.blocks)} is no block with a Mamba")
        if not 1 <= keep.minimum <= keep.base or not 0 < keep.beta <= 1 or protect < 0:
            raise ValueError(
                f"Decimated: needs 1 <= minimum <= base, 0 < beta <= 1 and protect >= 0; {keep}, {protect=}"
            )
        self.causal, self.bounded = stack.causal, stack.bounded
        self.stack, self.layers, self.keep, self.protect, self.score = stack, sorted(set(layers)), keep, protect, score

    def forward(self, x: Tensor, state: DecimatedState | None = None) -> tuple[Tensor, DecimatedState]:
        """Mix x (B, N, D) to (B, K, D), or with a state to (B, N, D)."""
        if state is not None:
            y, inner = self.stack(x, state.inner)
            assert inner is not None
            return y, DecimatedState(inner, state.kept_BK)
        if x.shape[1] <= self.protect:
            raise ValueError(f"Decimated: {x.shape[1]} tokens are no longer than the response, {self.protect=}")
        kept_BK = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        ends = []
        for i, block in enumerate(self.stack.blocks):
            if i not in self.layers:
                x, end = block(x)
            else:
                assert isinstance(block, Block)
                x, chosen_BK, end = self._decimated(x, block, self.layers.index(i))
                kept_BK = kept_BK.gather(1, chosen_BK)
            ends.append(end)
        return x, DecimatedState(tuple(ends), kept_BK)

    def _decimated(self, x: Tensor, block: Block, i: int) -> tuple[Tensor, Tensor, MambaState]:
        mixer = block.mixer
        assert isinstance(mixer, Mamba)
        u_BNE, z_BNE = mixer.in_proj(block.norm(x)).chunk(2, -1)
        driven, conv_BKE = drive(mixer.selection, u_BNE)
        chosen_BK = self._chosen(driven.dt_BNE.detach(), i)
        y_BKE, h_BES = scan(
            mixer.selection, type(driven)(*(_take(part, chosen_BK) for part in driven)), _take(z_BNE, chosen_BK)
        )
        x = _take(x, chosen_BK) + mixer.out_proj(y_BKE.to(x.dtype))
        if block.mlp is not None:
            x = x + block.mlp(x)
        return x, chosen_BK, MambaState(conv_BKE, h_BES)

    def _chosen(self, dt_BNE: Tensor, i: int) -> Tensor:
        candidates = dt_BNE.shape[1] - self.protect
        best = self.score(dt_BNE[:, :candidates]).topk(self.keep(i, candidates), 1).indices.sort(1).values
        last = torch.arange(candidates, dt_BNE.shape[1], device=dt_BNE.device).expand(len(dt_BNE), -1)
        return torch.cat([best, last], 1)


def _take(x: Tensor, which_BK: Tensor) -> Tensor:
    return x.gather(1, which_BK[..., None].expand(-1, -1, x.shape[-1]))
