"""A video read frame by frame by a resampler, with memories of fixed size for what it saw and what it thought.

B batch, S tokens a frame, Q queries, L words of text, D width of the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from seefar.compress.resample import QueryResampler, told
from seefar.sequence import VisualSequence


class Store(Protocol):
    """What a stream needs of a memory: ``seefar.memory.Bank`` is one."""

    capacity: int
    slots: int
    seen: int

    def write(self, seq: VisualSequence) -> None: ...

    def read(self, budget: int, query: Tensor | None = None) -> VisualSequence: ...

    def reset(self) -> None: ...


class Stream:
    """Reads one video frame by frame in memory of one size: ``step`` gives what the queries know after each frame.

    The long-term memory of MA-LMM. The tokens of earlier frames stay in ``visual``, and what each layer of the
    resampler was given at earlier frames in its store of ``queries``; a frame is looked at beside both, then written
    to them. Up to the capacity of its bank nothing is lost; above it, the banks' rule decides (``AdjacentMerge``).

    Args:
        resampler: what reads.
        visual: holds tokens of earlier frames; of as many slots as a frame has tokens.
        queries: one store for each layer, of Q + L slots each; none for a stream that remembers tokens alone.

    Raises:
        ValueError: stores that are not as many as layers, or not empty, or one store given twice; at a step a width,
            a number of slots or a film that doesn't go on with the last one (``reset()`` first), rows of unequal
            length, or another text than before. Nothing is changed by a step that is refused.

    Reference: He et al., arXiv 2404.05726. Differs: half-precision tokens are kept in float32.
    """

    def __init__(self, resampler: QueryResampler, visual: Store, queries: Sequence[Store] = ()) -> None:
        if queries and len(queries) != len(resampler.layers):
            raise ValueError(f"Stream: {len(resampler.layers)} layers need as many query stores, got {len(queries)}")
        self.stores = (visual, *queries)
        if len({id(store) for store in self.stores}) < len(self.stores):
            raise ValueError("Stream: one store was given twice; each layer needs its own")
        if any(store.seen for store in self.stores):
            raise ValueError(
                "Stream: a store holds frames of another stream; call its reset() first, or make a new one"
            )
        self.resampler, self.visual, self.queries = resampler, visual, tuple(queries)
        self._text: Tensor | None = None

    def reset(self) -> None:
        """Forget the video, ready for another one."""
        self._text = None
        for store in self.stores:
            store.reset()

    def step(self, frame: VisualSequence, query: Tensor | None = None, *, total: int | None = None) -> VisualSequence:
        """Read one frame (B, S tokens) and the text; the queries after it, (B, Q, D). Stores keep no gradients.

        ``total`` is how many frames the video has, needed where ``resampler.places`` are stretched over it.
        """
        t = self.visual.seen
        self._check(frame, query)
        if (places := self.resampler.places) is not None:
            place = places(t, t + 1, total)
            frame = frame.map(lambda tokens: tokens + place)
        seen = [*([self.visual.read(self.visual.capacity)] if t else []), frame]
        if len(seen[0].tokens) != len(frame.tokens):
            raise ValueError(
                f"Stream: holds {len(seen[0].tokens)} videos, got {len(frame.tokens)}; call reset() before others"
            )
        past = [store.read(store.capacity) for store in self.queries] if t and self.queries else None
        tokens, given = self.resampler.read(torch.cat([seq.tokens for seq in seen], 1), query, past=past)
        self.visual.write(frame)  # first, because it refuses what doesn't go on with the video
        for store, x in zip(self.queries, given, strict=False):
            store.write(VisualSequence.of_grid(x[:, None, None], frame.span[:, :1]))
        self._text = query
        return told(tokens, seen)

    def run(self, seq: VisualSequence, query: Tensor | None = None, *, total: int | None = None) -> VisualSequence:
        """Read the frames of a piece in turn; the queries after the last one.

        Only the last step keeps gradients. None are lost by that: what earlier frames left in the stores has none.
        """
        frames = self._frames(seq)
        with torch.no_grad():
            for frame in frames[:-1]:
                self.step(frame, query, total=total)
        return self.step(frames[-1], query, total=total)

    def _frames(self, seq: VisualSequence) -> list[VisualSequence]:
        S = self.visual.slots
        if not len(seq) or len(seq) % S:
            raise ValueError(f"Stream: a piece is whole frames of {S} tokens, at least one; got {len(seq)} tokens")
        grid = None if seq.grid is None else (1, *seq.grid[1:])
        names = ("tokens", "span", "box", "mass", "segment", "mask")
        cut = [{name: getattr(seq, name)[:, i : i + S] for name in names} for i in range(0, len(seq), S)]
        return [replace(seq, **one, grid=grid) for one in cut]

    def _check(self, frame: VisualSequence, query: Tensor | None) -> None:
        if len(frame) != self.visual.slots:
            raise ValueError(f"Stream: a frame has slots={self.visual.slots} tokens, got {len(frame)}; or call run()")
        if not frame.mask.all():
            raise ValueError("Stream: rows of unequal length cannot share a stream; give each video its own")
        slots = len(self.resampler.queries) + (0 if query is None else query.shape[1])
        if any(store.slots != slots for store in self.queries):
            sizes = sorted({store.slots for store in self.queries})
            raise ValueError(f"Stream: queries and text are {slots} tokens, the query stores have slots {sizes}")
        seen = [store.seen for store in self.stores]
        if len(set(seen)) > 1:
            raise ValueError(f"Stream: its stores have seen {seen} frames; call reset() of the stream, not of a store")
        before = self._text
        if seen[0] and before is not query and (before is None or query is None or not torch.equal(before, query)):
            raise ValueError("Stream: another text than at the frames before; call reset() and read the video again")
