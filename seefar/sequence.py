"""What crosses the rooms of seefar: frames that know their time, and tokens that know where they came from.

B batch, N tokens, D channels, T frames, C colour channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """Frames with the second at which each one is shown.

    Args:
        frames: (T, 3, H, W) uint8, RGB.
        seconds: (T,) float64 presentation time stamps, never falling.
    """

    frames: Tensor
    seconds: Tensor

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3:
            raise ValueError(f"Clip: frames must be (T, 3, H, W), got {tuple(self.frames.shape)}")
        if self.seconds.shape != self.frames.shape[:1]:
            raise ValueError(f"Clip: {len(self.frames)} frames need as many seconds, got {tuple(self.seconds.shape)}")
        if self.seconds.dtype != torch.float64:
            raise ValueError(f"Clip: seconds must be float64, got {self.seconds.dtype}: call .double()")
        if (self.seconds.diff() < 0).any():
            raise ValueError("Clip: seconds must not fall; sort the frames by time first")

    def __len__(self) -> int:
        return self.frames.shape[0]


@dataclass(frozen=True)
class VisualSequence:
    """Visual tokens with their provenance: when, where, and how many source tokens each one stands for.

    Real tokens of a row stand before its padding and are ordered by (segment, first second). Only the embeds,
    ``take``, ``merge``, ``pool`` and ``cat`` make new provenance, so it is right by construction; ``map`` changes
    features alone.

    Args:
        tokens: (B, N, D) features.
        span: (B, N, 2) float64, hull of the seconds that a token saw: first, last.
        box: (B, N, 4) hull of the place that a token saw, normalised y0 x0 y1 x1 in [0, 1].
        mass: (B, N) source tokens that a token stands for; 0 on padding.
        segment: (B, N) int64, which film of a packed row a token belongs to.
        mask: (B, N) bool, False on padding.
        grid: (T, H, W) while the tokens still are one full raster, else None.
    """

    tokens: Tensor
    span: Tensor
    box: Tensor
    mass: Tensor
    segment: Tensor
    mask: Tensor
    grid: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3:
            raise ValueError(f"VisualSequence: tokens must be (B, N, D), got {tuple(self.tokens.shape)}")
        rows = tuple(self.tokens.shape[:2])
        for name, tail in (("span", (2,)), ("box", (4,)), ("mass", ()), ("segment", ()), ("mask", ())):
            shape = tuple(getattr(self, name).shape)
            if shape != rows + tail:
                raise ValueError(f"VisualSequence: {name} must be {rows + tail} beside tokens {rows}, got {shape}")
        if self.span.dtype != torch.float64:
            raise ValueError(f"VisualSequence: span must be float64 seconds, got {self.span.dtype}")
        if self.grid is not None and self.grid[0] * self.grid[1] * self.grid[2] != rows[1]:
            raise ValueError(f"VisualSequence: grid {self.grid} does not hold {rows[1]} tokens")

    def __len__(self) -> int:
        return self.tokens.shape[1]

    @property
    def count(self) -> Tensor:
        """(B,) real tokens in each row."""
        return self.mask.sum(1)

    @classmethod
    def of_grid(cls, tokens: Tensor, seconds: Tensor) -> VisualSequence:
        """A full raster of (B, T, H, W, D) features, one unit of mass each; (T,), (B, T) or (B, T, 2) seconds seen."""
        B, T, H, W, D = tokens.shape
        seconds = seconds.to(torch.float64)
        if seconds.shape == (T,):
            seconds = seconds.expand(B, T)
        if seconds.shape == (B, T):
            seconds = torch.stack([seconds, seconds], -1)
        if seconds.shape != (B, T, 2):
            raise ValueError(
                f"of_grid: seconds must be ({T},), ({B}, {T}) or ({B}, {T}, 2), got {tuple(seconds.shape)}"
            )
        y, x = (torch.arange(n + 1, dtype=torch.float32, device=tokens.device) / n for n in (H, W))
        corners = [
            y[:-1, None].expand(H, W),
            x[None, :-1].expand(H, W),
            y[1:, None].expand(H, W),
            x[None, 1:].expand(H, W),
        ]
        box = torch.stack(corners, -1).reshape(1, 1, H * W, 4).expand(B, T, -1, -1).reshape(B, -1, 4)
        N = T * H * W
        return cls(
            tokens=tokens.reshape(B, N, D),
            span=seconds[:, :, None].expand(B, T, H * W, 2).reshape(B, N, 2).to(tokens.device),
            box=box,
            mass=tokens.new_ones(B, N, dtype=torch.float32),
            segment=torch.zeros(B, N, dtype=torch.int64, device=tokens.device),
            mask=torch.ones(B, N, dtype=torch.bool, device=tokens.device),
            grid=(T, H, W),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> VisualSequence:
        """The same provenance under new features: ``function`` turns (B, N, D) into (B, N, E)."""
        return replace(self, tokens=function(self.tokens))

    def to(self, device: torch.device | str) -> VisualSequence:
        """Everything moved to a device."""
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "span", "box", "mass", "segment", "mask")}
        return replace(self, **moved)

    def take(self, which: Tensor) -> VisualSequence:
        """Only the named tokens, still in their order; the mass of the others is gone, visibly.

        Args:
            which: (B, N) bool keeps what is True; or (B, K) int64 positions, -1 for nothing, no position twice.
        """
        if which.dtype == torch.bool:
            if which.shape != self.mask.shape:
                raise ValueError(f"take: a bool choice must be {tuple(self.mask.shape)}, got {tuple(which.shape)}")
            keep = which & self.mask
        else:
            if which.ndim != 2 or which.shape[0] != len(self.tokens):
                raise ValueError(f"take: positions must be ({len(self.tokens)}, K), got {tuple(which.shape)}")
            if which.numel() and (which.max() >= len(self) or which.min() < -1):
                raise ValueError(f"take: positions must lie in [-1, {len(self)}), got {which.min()} to {which.max()}")
            hits = which.new_zeros(self.mask.shape[0], len(self) + 1)
            hits.scatter_add_(1, torch.where(which < 0, len(self), which), torch.ones_like(which))
            if (hits[:, :-1] > 1).any():
                raise ValueError("take: a position was named twice; mass would be made out of nothing")
            keep = (hits[:, :-1] > 0) & self.mask
        order = keep.to(torch.int8).argsort(dim=1, descending=True, stable=True)[
            :, : int(keep.sum(1).max()) if len(self) else 0
        ]
        grid = self.grid if keep.all() else None
        return self._gather(order, keep.gather(1, order), grid)

    def merge(self, group: Tensor, *, weight: str = "mass") -> VisualSequence:
        """Tokens of one group become one token: their mean, the hull of their spans and boxes, the sum of their masses.

        Args:
            group: (B, N) int64, the group of each token, -1 to drop it. Groups may be numbered freely; the result is
                ordered by (segment, first second), ties by the first member's place.
            weight: "mass" for the mass-weighted mean (the mean over source tokens), "mean" for the plain one.
        """
        if weight not in ("mass", "mean"):
            raise ValueError(f"merge: weight must be 'mass' or 'mean', got {weight!r}")
        if group.shape != self.mask.shape or group.dtype != torch.int64:
            raise ValueError(
                f"merge: group must be {tuple(self.mask.shape)} int64, got {tuple(group.shape)} {group.dtype}"
            )
        B, N, _ = self.tokens.shape
        group = torch.where(self.mask, group, -1)
        if N == 0 or (group < 0).all():
            return self.take(torch.zeros_like(self.mask))
        if int(group.max()) >= B * N:  # a numbering with wide gaps must not cost memory
            group = torch.where(group < 0, -1, torch.unique(group.clamp(min=-1), return_inverse=True)[1])
        M = int(group.max()) + 1
        home = torch.where(group < 0, M, group)

        def reduce(values: Tensor, how: str, empty: float) -> Tensor:
            out = values.new_full((B, M + 1, *values.shape[2:]), empty)
            index = home.reshape(B, N, *[1] * (values.ndim - 2)).expand_as(values)
            return out.scatter_reduce(1, index, values, how)[:, :M]

        inf = float("inf")
        wide = torch.promote_types(self.tokens.dtype, torch.float32)  # half precision cannot count to a thousand
        share = self.mass.to(wide) if weight == "mass" else torch.ones_like(self.mass, dtype=wide)
        total = reduce(share, "sum", 0)
        mean = reduce(self.tokens * share[..., None], "sum", 0) / torch.where(total > 0, total, 1)[..., None]
        segment = reduce(self.segment, "amax", -1)
        if (segment.gather(1, group.clamp(min=0)) != self.segment)[group >= 0].any():
            raise ValueError("merge: a group joins tokens of two segments; films of a packed batch must stay apart")
        place = reduce(torch.arange(N, device=group.device).expand(B, N), "amin", N)
        real = reduce(self.mask.to(torch.int64), "sum", 0) > 0
        merged = VisualSequence(
            tokens=mean.to(self.tokens.dtype),
            span=torch.stack([reduce(self.span[..., 0], "amin", inf), reduce(self.span[..., 1], "amax", -inf)], -1),
            box=torch.cat([reduce(self.box[..., :2], "amin", inf), reduce(self.box[..., 2:], "amax", -inf)], -1),
            mass=reduce(self.mass, "sum", 0),
            segment=segment,
            mask=real,
        )
        return merged._ordered(place)

    def pool(self, window: tuple[int, int, int]) -> VisualSequence:
        """Mean over windows of (frames, rows, columns) of the raster; windows at the far edges may be smaller."""
        if self.grid is None:
            raise ValueError("pool: these tokens are no raster any more; pool before selecting, or use merge")
        if len(window) != 3 or min(window) < 1:
            raise ValueError(f"pool: window must be three positive ints (frames, rows, columns), got {window}")
        sizes = [-(-n // k) for n, k in zip(self.grid, window, strict=True)]
        t, y, x = (torch.arange(n, device=self.mask.device) // k for n, k in zip(self.grid, window, strict=True))
        group = (t[:, None, None] * sizes[1] + y[None, :, None]) * sizes[2] + x[None, None, :]
        pooled = self.merge(group.reshape(1, -1).expand(len(self.tokens), -1))
        return replace(pooled, grid=(sizes[0], sizes[1], sizes[2])) if pooled.mask.all() else pooled

    @staticmethod
    def cat(parts: Sequence[VisualSequence]) -> VisualSequence:
        """Several sequences of one batch as one, ordered by (segment, first second); ties as in ``parts``."""
        if not parts:
            raise ValueError("cat: needs at least one sequence")
        if len({(part.tokens.shape[0], part.tokens.shape[2]) for part in parts}) > 1:
            raise ValueError(f"cat: batch and width must agree, got {[tuple(part.tokens.shape) for part in parts]}")
        if len(parts) == 1:
            return parts[0]
        tokens, span, box, mass, segment, mask = (
            torch.cat([getattr(part, name) for part in parts], 1)
            for name in ("tokens", "span", "box", "mass", "segment", "mask")
        )
        joined = VisualSequence(tokens, span, box, mass, segment, mask)
        rasters = [part.grid for part in parts if part.grid is not None]
        result = joined._ordered(torch.arange(len(joined), device=joined.mask.device).expand_as(joined.segment))
        in_order = torch.equal(result.span, joined.span) and (joined.span.diff(dim=1)[..., 0] >= 0).all()
        one_raster = len(rasters) == len(parts) and len({grid[1:] for grid in rasters}) == 1
        if one_raster and joined.mask.all() and in_order:
            return replace(result, grid=(sum(grid[0] for grid in rasters), *rasters[0][1:]))
        return result

    def _ordered(self, place: Tensor) -> VisualSequence:
        """Rows sorted by (padding last, segment, first second, place), surplus padding cut."""
        order = place.argsort(dim=1, stable=True)
        for key in (self.span[..., 0], self.segment, (~self.mask).to(torch.int8)):
            order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
        order = order[:, : int(self.mask.sum(1).max()) if len(self) else 0]
        return self._gather(order, self.mask.gather(1, order), None)

    def _gather(self, order: Tensor, mask: Tensor, grid: tuple[int, int, int] | None) -> VisualSequence:
        def pick(values: Tensor, padding: float) -> Tensor:
            tail = [1] * (values.ndim - 2)
            picked = values.gather(1, order.reshape(*order.shape, *tail).expand(*order.shape, *values.shape[2:]))
            return picked.masked_fill(~mask.reshape(*mask.shape, *tail), padding)

        return VisualSequence(
            pick(self.tokens, 0),
            pick(self.span, 0),
            pick(self.box, 0),
            pick(self.mass, 0),
            pick(self.segment, -1),
            mask,
            grid,
        )
