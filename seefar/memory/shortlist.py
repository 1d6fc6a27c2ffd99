"""A shortlist: of an endless stream, the frames that speak most for one question, in constant memory.

T frames of a piece, P tokens of a frame, D channels, F frames held.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from seefar.memory.base import Memory
from seefar.sequence import VisualSequence

FIELDS = ("tokens", "span", "box", "mass", "segment")
Pick = Callable[[VisualSequence, Tensor, int], Tensor]


class Shortlist(Memory):
    """Holds the best frames by relevance, and of each frame its best tokens; what is irrelevant costs nothing.

    A frame's score is its highest token score; frames within ``margin`` of a better one inherit that one's score, a
    little below it, so that what comes just before and after is seen too. Of all frames above ``threshold`` the best
    ``capacity // per_frame`` stay; the best ``least`` stay even below it.

    Args:
        relevance: (1, N) scores of a sequence's tokens; NaN is refused.
        capacity: tokens held at most.
        per_frame: tokens kept of a frame, those that ``pick`` chooses; None for all of them.
        margin: neighbours on each side, counted in frames of the stream.
        pick: ``pick(seq, relevance_TP, keep)`` gives the places (T, keep) of the tokens to keep of each frame; None for
            the most relevant. In a frame that is kept for its neighbour's sake nothing is relevant, and yet something
            in it is worth seeing.

    Raises:
        ValueError: on a batch of more than one row, on tokens that are no raster of frames, or on time going backwards.
    """

    def __init__(
        self,
        relevance: Callable[[VisualSequence], Tensor],
        capacity: int,
        *,
        per_frame: int | None = None,
        margin: int = 2,
        threshold: float = float("-inf"),
        least: int = 8,
        pick: Pick | None = None,
    ):
        if capacity < 1:
            raise ValueError(f"Shortlist: capacity must be a positive number of tokens, got {capacity}")
        self.relevance, self.capacity, self.per_frame, self.pick = (
            relevance,
            capacity,
            per_frame,
            pick or _most_relevant,
        )
        self.margin, self.threshold, self.least = margin, threshold, least
        self.reset()

    def reset(self) -> None:
        """Forget everything, ready for another stream."""
        self._held: dict[str, Tensor] = {}
        self._seen = 0
        self._last = float("-inf")

    def write(self, seq: VisualSequence) -> None:
        """Score the next frames of the stream and keep those that are among the best so far."""
        if seq.grid is None or len(seq.tokens) != 1 or not seq.mask.all():
            raise ValueError(
                f"Shortlist: write one row of whole frames, got batch {len(seq.tokens)} and grid {seq.grid}"
            )
        T = seq.grid[0]
        scores = self.relevance(seq)
        if scores.isnan().any():
            raise ValueError("Shortlist: relevance gave NaN")
        if seq.span[0, 0, 0] < self._last:
            raise ValueError("Shortlist: the stream went back in time; reset() before another film")
        scores_TP = scores.reshape(T, -1)
        P = scores_TP.shape[1]
        keep = P if self.per_frame is None else min(self.per_frame, P)
        if keep > self.capacity:
            raise ValueError(f"Shortlist: budget {self.capacity} is less than one frame; the smallest is {keep}")
        best = self.pick(seq, scores_TP, keep).sort(1).values
        fresh = {name: getattr(seq, name)[0].reshape(T, P, *getattr(seq, name).shape[2:]) for name in FIELDS}
        rows = torch.arange(T)[:, None]
        fresh = {name: values[rows, best].detach() for name, values in fresh.items()}
        fresh["score"] = fresh["spread"] = scores_TP.amax(1).detach()
        fresh["place"] = torch.arange(self._seen, self._seen + T)
        self._seen += T
        self._last = float(seq.span[0, -1, 0])
        held = {k: torch.cat([self._held[k], v]) if self._held else v for k, v in fresh.items()}
        held["spread"] = self._inherit(held, T)
        frames = self.capacity // keep
        pending = held["place"] >= self._seen - self.margin  # a later frame may still lift these
        if len(pending) > frames + self.margin:
            chosen = _best(torch.where(pending, torch.inf, held["spread"]), frames + self.margin)
            held = {name: values[chosen] for name, values in held.items()}
        self._held = held

    def _inherit(self, held: dict[str, Tensor], fresh: int) -> Tensor:
        """Each frame's score, or that of a better neighbour less a little; only the last and fresh ones can change."""
        spread = held["spread"].clone()
        first = max(0, len(spread) - fresh - self.margin)
        tail, score, place = spread[first:].clone(), held["score"][first:], held["place"][first:]
        for step in range(1, self.margin + 1):
            near = (place[step:] - place[:-step]) == step if len(place) > step else place[:0].bool()
            if len(near):
                tail[step:] = torch.where(near, torch.maximum(tail[step:], score[:-step] - 0.01 * step), tail[step:])
                tail[:-step] = torch.where(near, torch.maximum(tail[:-step], score[step:] - 0.01 * step), tail[:-step])
        spread[first:] = tail
        return spread

    def read(self, budget: int, query: Tensor | None = None) -> VisualSequence:
        """The best frames that fit ``budget`` tokens, in time order; ``relevance`` knows the question already.

        Raises:
            ValueError: nothing was written yet, or the budget is smaller than one frame.
        """
        if not self._held:
            raise ValueError("Shortlist: nothing was written yet")
        keep = self._held["mass"].shape[1]
        frames = min(budget, self.capacity) // keep
        if frames < 1:
            raise ValueError(f"Shortlist: budget {budget} is less than one frame; the smallest is {keep}")
        spread = self._held["spread"]
        enough = max(int((spread > self.threshold).sum()), self.least)
        chosen = _best(spread, min(frames, enough, len(spread)))
        kept = {name: self._held[name][chosen].flatten(0, 1)[None] for name in FIELDS}
        tokens, span, box, mass, segment = (kept[name] for name in FIELDS)
        return VisualSequence(tokens, span, box, mass, segment, torch.ones_like(segment, dtype=torch.bool))

    def _kind(self) -> dict[str, str]:
        return {
            "kind": "Shortlist",
            "capacity": str(self.capacity),
            "per_frame": str(self.per_frame),
            "margin": str(self.margin),
        }

    def save(self, path: str | Path) -> None:
        """Write the whole state to one safetensors file."""
        state = {name: values.contiguous() for name, values in self._held.items()}
        count = {"seen": torch.tensor(self._seen), "last": torch.tensor(self._last, dtype=torch.float64)}
        save_file({**state, **count}, path, metadata=self._kind())

    def load(self, path: str | Path) -> None:
        """Take up what ``save`` wrote; a ValueError if that was another kind of memory."""
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
        if meta != self._kind():
            raise ValueError(
                f"{path}: holds {meta}, but this memory is {self._kind()}; make it with the same arguments"
            )
        state = load_file(path)
        self._seen, self._last = int(state.pop("seen")), float(state.pop("last"))
        self._held = state


def _most_relevant(seq: VisualSequence, relevance_TP: Tensor, keep: int) -> Tensor:
    return relevance_TP.topk(keep, 1).indices


def _best(values: Tensor, count: int) -> Tensor:
    """Positions of the highest values in order of place; of equal ones the earlier."""
    return values.argsort(descending=True, stable=True)[:count].sort().values
