"""Batches of pictures at sizes of their own: how a network learns to see at every resolution at once.

B rows, N tokens of a row, M pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from seefar.embed.native import fit_tokens, images_in, pack_images
from seefar.sequence import VisualSequence

HELD_OUT = 10**6
"""The step whose pictures are those of the test."""

SIDES = NormalDist(-0.5, 1.0)
"""Of sides, cut to [-1, 1], which stand for the shortest and the longest: small pictures come more often."""


@dataclass(frozen=True)
class Load:
    """What batches hold, on average.

    Args:
        pictures: in a batch.
        full: share of the tokens that is no padding.
        alone: the same, had each picture a row to itself, as long as the longest of the batch needs.
    """

    pictures: float
    full: float
    alone: float


@dataclass(frozen=True)
class NativeBatches:
    """Rows packed with pictures, each at a size drawn anew and with a share of its tokens dropped, drawn anew too.

    The root of a picture's tokens, a side as it were, is drawn from ``SIDES`` between the roots of ``tokens``; the
    share dropped is Beta distributed. Somewhat more pictures are drawn than fit; those that find no room are left out.
    Every batch costs ``rows`` x ``length`` tokens, padding included, so that two kinds of batches are alike in cost.

    Args:
        draw: ``draw(count, seed)`` gives pictures (C, H, W) and their labels (count,).
        patch: side of a patch, in pixels.
        length: N.
        rows: B.
        tokens: the fewest and the most of a picture, before any are dropped.
        drop: alpha and beta of the share that is dropped; None drops nothing.
        fit: ``fit(picture, patch, tokens)`` brings a picture to its size; ``squash`` makes squares of all.

    Reference: Dehghani et al., NaViT, arXiv 2307.06304: sides from a truncated normal that favours small ones, and a
    share of its own to drop for each picture.
    """

    draw: Callable[[int, Sequence[int]], tuple[list[Tensor], Tensor]]
    patch: int
    length: int
    rows: int
    tokens: tuple[int, int]
    drop: tuple[float, float] | None = (4.0, 4.0)
    fit: Callable[[Tensor, int, int], Tensor] = fit_tokens

    def __post_init__(self) -> None:
        if not 1 <= self.tokens[0] <= self.tokens[1] <= self.length:
            raise ValueError(
                f"NativeBatches: tokens must be two numbers in [1, {self.length}], rising, got {self.tokens}"
            )
        if self.drop is not None and min(self.drop) <= 0:
            raise ValueError(f"NativeBatches: alpha and beta of the share dropped are positive, got {self.drop}")
        if min(self.patch, self.rows) < 1:
            raise ValueError(f"NativeBatches: patch and rows must be positive, got {self.patch} and {self.rows}")

    @property
    def kept(self) -> float:
        """Tokens of a picture that are kept, on average and before rounding to whole patches."""
        share = 1.0 if self.drop is None else self.drop[1] / sum(self.drop)
        return share * float((self._sides((np.arange(100) + 0.5) / 100) ** 2).mean())

    def train(self, seed: int, step: int) -> tuple[VisualSequence, Tensor]:
        """The rows of a step and the labels of the pictures in them, in the order of ``images_in``."""
        full = self.rows * self.length / self.kept
        count = math.ceil(full if self.drop is None else 1.15 * full)
        pictures, labels = self.draw(count, (seed, step))
        rng = np.random.default_rng((seed, step, 1))
        sizes = [round(side**2) for side in self._sides(rng.uniform(size=count))]
        fitted = [self.fit(picture, self.patch, size) for picture, size in zip(pictures, sizes, strict=True)]
        drop = 0.0 if self.drop is None else torch.from_numpy(rng.beta(*self.drop, count))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        seq = pack_images(fitted, self.patch, self.length, rows=self.rows, drop=drop, generator=generator)
        return seq, labels[images_in(seq)]

    def load(self, seeds: Sequence[int], steps: Iterable[int]) -> Load:
        """What the batches of these steps hold."""
        held = []
        for seq in (self.train(seed, step)[0] for step in steps for seed in seeds):
            sizes = torch.bincount(seq.segment[seq.mask])
            pictures = int((sizes > 0).sum())
            tokens = int(sizes.sum())
            held.append((pictures, tokens / seq.mask.numel(), tokens / (pictures * int(sizes.max()))))
        pictures, full, alone = np.mean(held, axis=0).tolist()
        return Load(pictures, full, alone)

    def test(self, count: int, tokens: int, seed: int) -> tuple[VisualSequence, Tensor]:
        """Pictures that training did not see, all of them, at one number of tokens and with none dropped."""
        pictures, labels = self.draw(count, (seed, HELD_OUT))
        seq = pack_images([self.fit(picture, self.patch, tokens) for picture in pictures], self.patch, self.length)
        return seq, labels[images_in(seq)]

    def _sides(self, shares: np.ndarray) -> np.ndarray:
        """The root of a size below which lies this share of all."""
        low, high = (n**0.5 for n in self.tokens)
        ends = SIDES.cdf(-1), SIDES.cdf(1)
        bell = np.array([SIDES.inv_cdf(ends[0] + (ends[1] - ends[0]) * share) for share in shares])
        return low + (high - low) * (1 + bell) / 2
