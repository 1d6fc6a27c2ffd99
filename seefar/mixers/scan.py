"""Scan: one-dimensional mixers walk the tokens of a picture or a film along paths.

B batch, N tokens, D channels, P paths; a grid is (T, H, W) with N = T * H * W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.positions.paths import Path, raster

Order = Path | Callable[[tuple[int, int, int], torch.device], Tensor]


class Scan(Mixer):
    """Lay the tokens along each path, mix them there, put them back, and add up the paths.

    y = sum_p unwalk_p(mixer_p(walk_p(x)))

    Causal only for the path ``raster`` alone with a causal mixer: then it is that mixer, streams any number of tokens
    and carries its state. Otherwise it takes exactly one grid of tokens, and neither gives nor takes a state.

    Args:
        mixers: one mixer shared by all paths (they then run as one batch), or one for each path.
        paths: a path or several: ``positions.cross``, ``positions.spatial_first``, ... or any function of a grid and a
            device that gives a permutation (N,).
        grid: (T, H, W) of the tokens; set ``scan.grid`` anew when the next input has another.

    Reference: Liu et al., VMamba, arXiv 2401.10166 (cross paths, summed); Li et al., VideoMamba, arXiv 2403.06977.
    """

    def __init__(
        self, mixers: Mixer | Sequence[Mixer], paths: Order | Sequence[Order], grid: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.paths = tuple(paths) if isinstance(paths, Sequence) else (paths,)
        each = [mixers] if isinstance(mixers, Mixer) else list(mixers)
        if not self.paths or len(each) not in (1, len(self.paths)):
            counts = f"{len(each)} mixers for {len(self.paths)} paths"
            raise ValueError(f"Scan: needs a path, and one mixer or one for each path; got {counts}")
        for path in self.paths:
            order = path(grid, torch.device("cpu"))
            if not torch.equal(order.sort().values, torch.arange(grid[0] * grid[1] * grid[2])):
                raise ValueError(f"Scan: path {path} over {grid} must meet every token once, got {order.tolist()[:20]}")
        self.grid = grid
        self.causal = self.paths == (raster,) and each[0].causal
        self.bounded = all(mixer.bounded for mixer in each)
        self.mixers = nn.ModuleList(each)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Mix x (B, N, D) over the grid; ``state`` only where the scan is causal."""
        if self.causal:
            return self.mixers[0](x, state)
        if state is not None:
            raise ValueError("Scan: only the path raster alone with a causal mixer may be streamed; give no state")
        T, H, W = self.grid
        if x.shape[1] != T * H * W:
            raise ValueError(f"Scan: grid {self.grid} holds {T * H * W} tokens, got {x.shape[1]}; set scan.grid")
        orders = [path(self.grid, x.device) for path in self.paths]
        walks = [x[:, order] for order in orders]
        if len(self.mixers) == 1:
            mixed = self.mixers[0](torch.cat(walks))[0].chunk(len(walks))
        else:
            mixed = tuple(mixer(walk)[0] for mixer, walk in zip(self.mixers, walks, strict=True))
        y = mixed[0][:, orders[0].argsort()]
        for order, along in zip(orders[1:], mixed[1:], strict=True):
            y = y + along[:, order.argsort()]
        return y, None
