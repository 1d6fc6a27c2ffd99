"""Real numbers as small whole ones and a scale.

N tokens, d channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Group = Literal["token", "block", "channel", "tensor"]


def quantize_int8(x: Tensor, group: Group = "token", *, block: int = 64, levels: int = 127) -> tuple[Tensor, Tensor]:
    """Whole numbers from -levels to levels that are x once multiplied by their scale, to half a step.

    scale = max|x| / levels over a group, numbers = round(x / scale), halves away from zero. A group of zeros has
    scale 1.

    Args:
        x: (..., N, d) floating.
        group: what shares a scale: the channels of a token, of ``block`` tokens, or of all of them ("tensor"), or the
            tokens of a channel. "tensor" is one scale for each (N, d).
        block: tokens of a block; the last may be shorter.
        levels: 127 for int8; up to 32767 gives int16.

    Returns:
        (..., N, d) int8 or int16, and float32 scales that broadcast against it: (..., N, 1) for tokens and blocks,
        (..., 1, d) for channels, (..., 1, 1).

    Example:
        >>> numbers, scale = quantize_int8(torch.tensor([[0.5, -1.0], [0.0, 0.0]]), "token")
        >>> numbers.tolist(), (numbers * scale)[0, 1].item()
        ([[64, -127], [0, 0]], -1.0)
    """
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"quantize_int8: x is (..., N, d) and floating, got {tuple(x.shape)} {x.dtype}")
    if group not in ("token", "block", "channel", "tensor"):
        raise ValueError(f"quantize_int8: group is 'token', 'block', 'channel' or 'tensor', got {group!r}")
    if block < 1 or not 1 <= levels <= 32767:
        raise ValueError(f"quantize_int8: needs block >= 1 and levels from 1 to 32767, got {block=}, {levels=}")
    x, N = x.float(), x.shape[-2]
    size = x.abs()
    if group == "channel":
        most = size.amax(-2, keepdim=True)
    elif group == "tensor":
        most = size.amax((-2, -1), keepdim=True)
    else:
        most = size.amax(-1, keepdim=True)
    if group == "block" and N:
        padded = torch.nn.functional.pad(most, (0, 0, 0, -N % block)).unflatten(-2, (-1, block))
        most = padded.amax(-2, keepdim=True).expand_as(padded).flatten(-3, -2)[..., :N, :]
    scale = torch.where(most == 0, 1.0, most / levels)
    numbers = x / scale
    numbers.add_(torch.copysign(numbers.new_tensor(0.5), numbers)).trunc_()
    return numbers.to(torch.int8 if levels <= 127 else torch.int16), scale


def centred(k: Tensor) -> tuple[Tensor, Tensor]:
    """Keys (..., M, d) less their mean over tokens, and that mean (..., 1, d).

    A softmax over keys does not see what all of them share, q . mean being one number for each query; but the largest
    key, by which all are scaled, does.
    """
    mean = k.mean(-2, keepdim=True)
    return k - mean, mean
