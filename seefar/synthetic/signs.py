"""Coloured signs told in words or shown in pictures: the same film for a reader and for a viewer.

B films, L words of one, T frames, Q questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CELL = 8
"""Pixels of a side of the cell that shows one word."""
SIDE = 2
"""Cells of a side of a frame."""
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "white")
RGB = ((1, 0, 0), (1, 0.5, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (0.6, 0, 1), (1, 1, 1))


@dataclass(frozen=True)
class Told:
    """Films as words, and questions about them: "the sign of that name has which colour?".

    Args:
        words: (B, L) ids, ``SIDE ** 2`` of them a frame.
        questions: (B, Q, 2) ids: the question mark and a name.
        answers: (B, Q) ids of colours.
    """

    words: Tensor
    questions: Tensor
    answers: Tensor

    @property
    def asked(self) -> Tensor:
        """(B, 3 Q) ids: every question with its answer behind it."""
        return torch.cat([self.questions, self.answers[..., None]], -1).flatten(1)

    @property
    def frames(self) -> int:
        return self.words.shape[1] // SIDE**2


@dataclass(frozen=True)
class Signs:
    """A world of signs: each has a name, which is a pattern, and one of eight colours; one word says both.

    The words are: ``names`` names, eight colours, the question mark, a word for every sign (name and colour), and
    ``fillers`` words without meaning, shown as grey textures. A film holds facts, signs whose name comes once, and
    other signs of all other names, which come again and again in any colour.

    Args:
        names: of signs. fillers: words without meaning.
        share: of the words, those that are signs beside the facts.
        facts: most of a film; one for every four words if that is fewer.
        noise: standard deviation of the noise of pictures, whose colours lie in [0, 1].
    """

    names: int = 32
    fillers: int = 32
    share: float = 0.25
    facts: int = 8
    noise: float = 0.05

    def __post_init__(self) -> None:
        if min(self.fillers, self.facts) < 1 or self.names <= self.facts or not 0 <= self.share <= 1 or self.noise < 0:
            raise ValueError(
                "Signs: needs fillers, facts, more names than facts, a share in [0, 1] and noise of at least 0, got "
                f"{self}"
            )

    @property
    def question(self) -> int:
        """Id of the question mark."""
        return self.names + len(COLOURS)

    @property
    def vocabulary(self) -> int:
        return self.question + 1 + self.names * len(COLOURS) + self.fillers

    def draw(self, count: int, words: int, questions: int, seed: int | Sequence[int]) -> Told:
        """``count`` films of so many words, with questions about their facts; a seed gives the same ones.

        Raises:
            ValueError: nothing to draw.
        """
        if min(count, words, questions) < 1:
            raise ValueError(f"Signs: every number must be at least 1, got {count=}, {words=}, {questions=}")
        rng = np.random.default_rng(seed)
        known = min(self.facts, max(1, words // 4))
        names = rng.permuted(np.tile(np.arange(self.names), (count, 1)), axis=1)
        colours, rows = rng.integers(len(COLOURS), size=(count, known)), np.arange(count)[:, None]
        film = self._around(rng, names[:, known:], words)
        places = rng.permuted(np.tile(np.arange(words), (count, 1)), axis=1)[:, :known]
        film[rows, places] = self._sign(names[:, :known], colours)
        which = rng.integers(known, size=(count, questions))
        asked = np.stack([np.full(which.shape, self.question), names[rows, which]], -1)
        return Told(*(torch.from_numpy(a) for a in (film, asked, self.names + colours[rows, which])))

    def needles(self, count: int, words: int, seed: int | Sequence[int]) -> tuple[Tensor, Told]:
        """A film (words,) without ``count`` of the names; and for each of those a film of one frame, which shows it
        once among fillers, with the question about it.

        Raises:
            ValueError: not one needle, or no name left for the film.
        """
        if not 0 < count < self.names:
            raise ValueError(f"Signs: there are {self.names} names, so 1 to {self.names - 1} needles, got {count}")
        rng = np.random.default_rng(seed)
        names, colours = rng.permutation(self.names), rng.integers(len(COLOURS), size=count)
        film = self._around(rng, names[None, count:], words)[0]
        frames = self.vocabulary - 1 - rng.integers(self.fillers, size=(count, SIDE**2))
        frames[np.arange(count), rng.integers(SIDE**2, size=count)] = self._sign(names[:count], colours)
        asked = np.stack([np.full(count, self.question), names[:count]], -1)[:, None]
        told = Told(*(torch.from_numpy(a) for a in (frames, asked, self.names + colours[:, None])))
        return torch.from_numpy(film), told

    def pictures(self, words: Tensor, seed: int | Sequence[int]) -> Tensor:
        """The frames (B, T, 3, 16, 16) that show films of words (B, 4 T), cells in raster order, with fresh noise.

        Raises:
            ValueError: a word that cannot be shown, or a broken frame.
        """
        if words.ndim != 2 or words.shape[1] % SIDE**2 or not words.numel():
            raise ValueError(f"Signs: a frame shows {SIDE**2} words, got films of {tuple(words.shape)}")
        if words.min() <= self.question or words.max() >= self.vocabulary:
            raise ValueError(
                f"Signs: words {self.question + 1} to {self.vocabulary - 1} can be shown, got {int(words.min())} to "
                f"{int(words.max())}"
            )
        cells = self._cells()[words - self.question - 1].unflatten(1, (-1, SIDE, SIDE))  # (B, T, row, column, 3, y, x)
        frames = cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(*cells.shape[:2], 3, SIDE * CELL, SIDE * CELL)
        noise = np.random.default_rng(seed).standard_normal(tuple(frames.shape), np.float32)
        return frames + self.noise * torch.from_numpy(noise)

    def _sign(self, name: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """Ids of the signs of these names and colours."""
        return self.question + 1 + name * len(COLOURS) + colour

    def _around(self, rng: np.random.Generator, names: np.ndarray, words: int) -> np.ndarray:
        """(B, words) fillers and signs of names (B, n), each as often as it likes."""
        size = (len(names), words)
        some = np.take_along_axis(names, rng.integers(names.shape[1], size=size), 1)
        signs = self._sign(some, rng.integers(len(COLOURS), size=size))
        fillers = self.vocabulary - 1 - rng.integers(self.fillers, size=size)
        return np.where(rng.random(size) < self.share, signs, fillers)

    def _cells(self) -> Tensor:
        """(signs + fillers, 3, CELL, CELL) the picture of every word that can be shown, the same in every film."""
        rng = np.random.default_rng(2406)
        grain = np.ones((2, 2))
        marks = np.kron(rng.random((self.names, CELL // 2, CELL // 2)) < 0.5, grain)
        inks = np.array(RGB)[None, :, :, None, None]
        signs = 0.5 + (inks - 0.5) * marks[:, None, None]
        greys = np.kron(rng.uniform(0.3, 0.7, (self.fillers, CELL // 2, CELL // 2)), grain)
        shown = np.concatenate([signs.reshape(-1, 3, CELL, CELL), greys[:, None].repeat(3, 1)])
        return torch.from_numpy(shown.astype(np.float32))
