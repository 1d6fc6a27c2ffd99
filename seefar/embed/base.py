"""The one contract of everything that turns pixels into tokens."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from seefar.sequence import VisualSequence


class Embed(nn.Module):
    """``embed(pixels, seconds)`` gives the tokens of a clip, each with the time and the place that it stands for.

    Attributes:
        dim: width D of the tokens.
    """

    dim: int

    @abstractmethod
    def forward(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The tokens of ``pixels`` (B, T, C, H, W), floats as a rule in [0, 1], shown at ``seconds`` (T,) or (B, T)."""


def check_pixels(who: str, pixels: Tensor, seconds: Tensor, channels: int, patch: tuple[int, int]) -> Tensor:
    """The seconds as float64 (B, T), or a ValueError that says what is wrong with the pixels or the seconds.

    ``channels`` is what the part takes; ``patch`` the height and width of one token in pixels, of which the picture
    must be a multiple.
    """
    if pixels.ndim != 5 or pixels.shape[2] != channels:
        raise ValueError(f"{who}: pixels must be (B, T, {channels}, H, W), got {tuple(pixels.shape)}")
    if not pixels.is_floating_point():
        raise ValueError(f"{who}: pixels must be floats in [0, 1], got {pixels.dtype}: call .float() / 255")
    B, T, _, H, W = pixels.shape
    for name, size, unit in (("height", H, patch[0]), ("width", W, patch[1])):
        if size % unit or size == 0:
            fit = max(unit, round(size / unit) * unit)
            raise ValueError(f"{who}: {name} {size} is no multiple of the patch {unit}; resize or pad to {fit} first")
    seconds = seconds.to(torch.float64)
    if seconds.shape not in ((T,), (B, T)):
        raise ValueError(f"{who}: seconds must be ({T},) or ({B}, {T}) beside {T} frames, got {tuple(seconds.shape)}")
    if not torch.isfinite(seconds).all() or (seconds.diff(dim=-1) < 0).any():
        raise ValueError(f"{who}: seconds must be finite and must not fall; sort the frames by time first")
    return seconds.expand(B, T).to(pixels.device)
