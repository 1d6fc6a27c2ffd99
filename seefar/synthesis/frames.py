"""The next frame of a video, again and again: a column of mixers between an encoder and a decoder of single frames.

B batch, N frames, C colours, H W pixels, h w places, D channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer


class FramePredictor(nn.Module):
    """From frames 1 ... n, frame n + 1.

    y_n = s(2 decode(column(encode(2 x_1 - 1) ... encode(2 x_n - 1)))),    s the logistic function

    which is tanh on pixels in [-1, 1]. Training gives it all true frames at once, ``model(clip[:, :-1])``; what it sees
    on its own is a ``rollout``, which takes its frames for true.

    Args:
        encode: (F, C, H, W) to (F, D, h, w), each frame by itself.
        column: a causal mixer of pictures over time, (B, N, h, w, D).
        decode: (F, D, h, w) to (F, C, H, W).

    Reference: the models without codes of Smith et al., arXiv 2310.19694. Differs: no actions, so nothing between
    encoder and column.
    """

    def __init__(self, encode: nn.Module, column: Mixer, decode: nn.Module) -> None:
        super().__init__()
        if not column.causal:
            raise ValueError(f"FramePredictor: the column must be causal, {type(column).__name__} sees the future")
        self.encode, self.column, self.decode = encode, column, decode

    def forward(self, clip: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """What comes after each frame of ``clip`` (B, N, C, H, W) in [0, 1], going on from ``state``."""
        if clip.ndim != 5 or clip.shape[1] < 1:
            raise ValueError(
                f"FramePredictor: a clip is (B, N, C, H, W) with a frame at least, got {tuple(clip.shape)}"
            )
        places = self.encode(2 * clip.flatten(0, 1) - 1).permute(0, 2, 3, 1).unflatten(0, clip.shape[:2])
        mixed, end = self.column(places, state)
        logits = self.decode(mixed.flatten(0, 1).permute(0, 3, 1, 2))
        return torch.sigmoid(2 * logits).unflatten(0, clip.shape[:2]), end

    def rollout(self, context: Tensor, steps: int, state: Any = None) -> tuple[Tensor, Any]:
        """The ``steps`` frames (B, steps, C, H, W) after ``context`` (B, N, C, H, W), each made from those before.

        Returns:
            the frames, and the state before the last of them: ``rollout(frames[:, -1:], more, state)`` goes on.

        Raises:
            ValueError: no step, or no frame to begin from.
        """
        if steps < 1:
            raise ValueError(f"FramePredictor: a rollout has at least one step, got {steps}")
        seen, state = self(context, state)
        frames = [seen[:, -1:]]
        for _ in range(steps - 1):
            seen, state = self(frames[-1], state)
            frames.append(seen)
        return torch.cat(frames, 1), state
