"""Dilated convolutions the plain way, each level a call of torch's own convolution: what the fused op is timed against.

B batch, N tokens, D channels, J levels, K taps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.ops.dilated_conv import dilated_conv


def level_by_level(
    x: Tensor, low: Tensor, high: Tensor | None, tail: Tensor | None, *, dilations: Sequence[int]
) -> Tensor:
    """What ``dilated_conv`` gives without a past, by ``conv1d`` with one group a channel; channels stand before tokens.

    The form of the authors' code of arXiv 2305.01638.

    Args:
        x: (B, D, N), the order that ``conv1d`` wants, so that no turning is timed.
        low: (J, K, D).
        high: (J, K, D).
        tail: (D,).
        dilations: J distances between taps.
    """
    level, read = x, None
    for j, apart in enumerate(dilations):
        padded = F.pad(level, (apart * (low.shape[1] - 1), 0))
        level = F.conv1d(padded, low[j].flip(0).T[:, None], dilation=apart, groups=x.shape[1])
        if high is not None:
            more = F.conv1d(padded, high[j].flip(0).T[:, None], dilation=apart, groups=x.shape[1])
            read = more if read is None else read + more
    y = level if tail is None else tail[:, None] * level
    return y if read is None else y + read


def contenders(
    channels: int, kernel: int, factor: int, *, reads: bool, backward: bool = False
) -> dict[str, Callable[[int], Callable[[], object]]]:
    """For ``protocols.cost_sweep``: the fused op, and torch's convolutions, over as many levels as reach all tokens.

    Args:
        channels: D.
        kernel: K.
        factor: between the dilations of two levels.
        reads: every level, as a wavelet transform does; False for the last alone.
        backward: time the gradients as well.
    """

    def prepared(fused: bool) -> Callable[[int], Callable[[], object]]:
        def prepare(length: int) -> Callable[[], object]:
            apart = [1]
            while 1 + (kernel - 1) * sum(apart) < length:
                apart.append(apart[-1] * factor)
            draw = torch.Generator().manual_seed(length)
            x = torch.randn(1, length, channels, generator=draw)
            taps = [torch.randn(len(apart), kernel, channels, generator=draw) / kernel for _ in range(2)]
            given = [x if fused else x.mT.contiguous(), taps[0]]
            given += [taps[1], torch.randn(channels, generator=draw)] if reads else []
            rest = [] if reads else [None, None]

            def call(*tensors: Tensor) -> Tensor:
                if fused:
                    return dilated_conv(*tensors, *rest, dilations=apart)[0]
                return level_by_level(*tensors, *rest, dilations=apart)

            def both() -> object:
                leaves = [tensor.detach().requires_grad_() for tensor in given]
                return torch.autograd.grad(call(*leaves).sum(), leaves)

            return both if backward else lambda: torch.no_grad()(call)(*given)

        return prepare

    return {"fused": prepared(True), "level by level": prepared(False)}
