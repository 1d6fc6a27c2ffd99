"""Places of frames: a vector for each frame of a film, added to its tokens.

T frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedFrames(nn.Module):
    """A learned vector for each frame; all begin at zero, so that a trained network is unchanged when it is added.

    Without ``stretch`` frame t gets row t. With it the table is laid over the whole film, whatever its length: frame t
    of ``total`` reads the table at (t + 1/2) frames / total - 1/2, linearly between two rows.

    Args:
        dim: width D.
        frames: rows of the table.
        stretch: places are shares of a film whose length is known, instead of counts from its beginning.

    Raises:
        ValueError: a frame beyond the table, or beyond ``total``; or no ``total`` to stretch over.

    Reference: He et al., MA-LMM, arXiv 2404.05726. Differs: ``stretch`` is ours.
    """

    def __init__(self, dim: int, frames: int, *, stretch: bool = False) -> None:
        super().__init__()
        if dim < 1 or frames < 1:
            raise ValueError(f"LearnedFrames: needs a positive dim and number of frames, got {dim}, {frames}")
        self.stretch = stretch
        self.table = nn.Parameter(torch.zeros(frames, dim))

    def forward(self, start: int, stop: int, total: int | None = None) -> Tensor:
        """The vectors (stop - start, D) of frames ``start`` up to ``stop`` of a film of ``total`` frames."""
        rows = len(self.table)
        if not self.stretch:
            if stop > rows:
                raise ValueError(
                    f"LearnedFrames: frame {stop - 1} lies beyond a table of {rows} frames; build it with "
                    "stretch=True and give the length of the film, or read fewer frames"
                )
            return self.table[start:stop]
        if total is None or stop > total:
            raise ValueError(f"LearnedFrames: to stretch over a film, total must be its {stop} frames or more: {total}")
        t = torch.arange(start, stop, device=self.table.device, dtype=self.table.dtype)
        at = ((t + 0.5) * rows / total - 0.5).clamp(0, rows - 1)
        low = at.long()
        return torch.lerp(self.table[low], self.table[(low + 1).clamp(max=rows - 1)], (at - low)[:, None])
