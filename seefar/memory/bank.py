"""A memory of fixed size over an endless stream of frames, which forgets detail instead of time.

B batch, M entries of the bank, S slots (tokens a frame), D channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.memory.base import Memory
from seefar.sequence import VisualSequence

Reduce = Callable[[Tensor, Tensor], Tensor]
"""``reduce(tokens (B, M, S, D), mass (B, M, S))`` gives (B, M, S) int64: the entry that each becomes, -1 to forget it.

Each slot must be left with one entry less, numbered from 0 in the old order.
"""
ReadWith = Callable[[VisualSequence, int, Tensor | None], VisualSequence]
"""A compressor: ``read_with(seq, budget, query)``."""


class AdjacentMerge:
    """Joins, in each slot by itself, the two neighbours in time of highest cosine; of equal pairs the earlier one.

    The rule of MA-LMM (arXiv 2404.05726): what changes little is told in few entries, and the order is never changed.
    """

    def __call__(self, tokens_BMSD: Tensor, mass_BMS: Tensor) -> Tensor:
        """The entry that each entry becomes."""
        unit = F.normalize(tokens_BMSD.to(torch.promote_types(tokens_BMSD.dtype, torch.float32)), dim=-1)
        pair_BS = (unit[:, 1:] * unit[:, :-1]).sum(-1).argmax(1)
        entry = torch.arange(mass_BMS.shape[1], device=mass_BMS.device)[None, :, None]
        return entry - (entry > pair_BS[:, None]).to(entry.dtype)


class Fifo:
    """Forgets the oldest entry of each slot; its mass is gone, visibly."""

    def __call__(self, tokens_BMSD: Tensor, mass_BMS: Tensor) -> Tensor:
        """The entry that each entry becomes."""
        entry = torch.arange(mass_BMS.shape[1], device=mass_BMS.device)[None, :, None]
        return (entry - 1).expand(mass_BMS.shape)


class _Store(NamedTuple):
    """The entries, oldest first: four tensors that begin with (B, M, S)."""

    tokens: Tensor
    mass: Tensor
    span: Tensor
    box: Tensor

    def add(self, later: _Store) -> _Store:
        return _Store(*(torch.cat(pair, 1) for pair in zip(self, later, strict=True)))

    def piece(self, start: int, stop: int) -> _Store:
        return _Store(*(values[:, start:stop] for values in self))

    def become(self, entry: Tensor, entries: int) -> _Store:
        """Entries joined as ``entry`` says: mass-weighted mean, hull of span and box, sum of mass."""
        B, _, S, D = self.tokens.shape
        home = torch.where(entry < 0, entries, entry)

        def gather(values: Tensor, how: str, empty: float) -> Tensor:
            out = values.new_full((B, entries + 1, *values.shape[2:]), empty)
            index = home if values.ndim == 3 else home[..., None].expand(values.shape)
            return out.scatter_reduce(1, index, values, how)[:, :entries]

        mass = gather(self.mass, "sum", 0)
        share = self.mass / torch.cat([mass, torch.ones_like(mass[:, :1])], 1).gather(1, home)
        # Whole rows of width D are added, faster than a scatter of single numbers; alone, a row stays exact.
        row = (torch.arange(B, device=home.device)[:, None, None] * (entries + 1) + home) * S
        row = (row + torch.arange(S, device=home.device)).flatten()
        tokens = self.tokens.new_zeros(B * (entries + 1) * S, D)
        tokens.index_add_(0, row, (self.tokens * share[..., None].to(tokens.dtype)).reshape(-1, D))
        (first, last), (top, bottom) = self.span.split(1, -1), self.box.split(2, -1)
        span = torch.cat([gather(first, "amin", torch.inf), gather(last, "amax", -torch.inf)], -1)
        box = torch.cat([gather(top, "amin", torch.inf), gather(bottom, "amax", -torch.inf)], -1)
        return _Store(tokens.reshape(B, entries + 1, S, D)[:, :entries], mass, span, box)


class Bank(Memory):
    """Remembers a stream of any length in ``capacity`` tokens: when it is full, the most similar neighbours become one.

    The memory bank of MA-LMM (He et al., arXiv 2404.05726). Frames of ``slots`` tokens are appended one by one; above
    ``capacity // slots`` entries each slot joins two neighbouring entries a, b into one:

        token = (mass_a token_a + mass_b token_b) / (mass_a + mass_b),    mass = mass_a + mass_b

    with the hull of their spans and boxes. Until the first overflow the bank holds every frame unchanged. The mass of a
    slot is the mass written to it (with ``AdjacentMerge``): 1 a frame for tokens fresh from an embed.

    Args:
        capacity: tokens that the bank may hold in each row; a multiple of ``slots``.
        slots: tokens a frame. A piece that is a raster must have H * W of them; one that isn't must be runs of
            ``slots`` tokens of one span (as a resampler gives them).
        reduce: what happens on overflow: ``AdjacentMerge()``, ``Fifo()``, or an object like them.
        read_with: a compressor that answers reads below what is held, e.g. ``TopK(Cosine())``; a budget that it refuses
            is refused. By default the bank reduces a copy of itself by its own rule to ``budget // slots`` entries;
            below one frame it joins neighbouring slots.

    Raises:
        ValueError: sizes that don't fit, padding, several films in a row, a NaN, or time that goes backwards (that is
            another film: ``reset()`` first).

    Differs:
        Tokens are held without gradients, in float32 at least: in half precision the mean of a long stretch would stand
        still. The paper keeps one bank for the frames and one more for the queries of
        each layer; this is the one mechanism, and such a system makes as many banks as it needs.
    """

    def __init__(
        self, capacity: int, slots: int, reduce: Reduce | None = None, read_with: ReadWith | None = None
    ) -> None:
        if slots < 1 or capacity < slots or capacity % slots:
            fit = max(slots, capacity // max(slots, 1) * slots)
            raise ValueError(f"Bank: capacity {capacity} must be a positive multiple of slots={slots}; take {fit}")
        self.capacity, self.slots = capacity, slots
        self.reduce: Reduce = AdjacentMerge() if reduce is None else reduce
        self.read_with = read_with
        self.reset()

    @property
    def entries(self) -> int:
        """Entries held now in each slot."""
        return 0 if self._store is None else self._store.tokens.shape[1]

    def reset(self) -> None:
        """Forget everything, ready for another stream."""
        self.seen = 0
        self._store: _Store | None = None
        self._raster, self._dtype = (1, self.slots), torch.float32
        self._segment, self._last = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)

    @torch.no_grad()
    def write(self, seq: VisualSequence) -> None:
        """Append the frames of a piece of the stream; nothing is changed if it is refused."""
        if not len(seq):
            return
        frames, room = self._frames(seq), self.capacity // self.slots
        T, raster = frames.tokens.shape[1], (1, self.slots) if seq.grid is None else seq.grid[1:]
        fill = min(T, room - self.entries)
        if self._store is None:
            self._raster, self._segment, self._dtype = raster, seq.segment[:, 0].clone(), seq.tokens.dtype
            store = _Store(*(values.clone() for values in frames.piece(0, fill)))
        else:
            self._raster = raster if raster == self._raster else (1, self.slots)
            store = _Store(*(values.to(seq.mask.device) for values in self._store)).add(frames.piece(0, fill))
        for i in range(fill, T):
            store = self._reduced(store.add(frames.piece(i, i + 1)), room)
        self._store, self.seen, self._last = store, self.seen + T, frames.span[:, -1, 0, 0].clone()

    @torch.no_grad()
    def read(self, budget: int, query: Tensor | None = None) -> VisualSequence:
        """The whole bank in time order if it fits; else what ``read_with`` or the bank's own rule makes of it."""
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
            raise ValueError(f"Bank: budget must be a positive number of tokens (an int), got {budget!r}")
        if self._store is None:
            raise ValueError("Bank: nothing was written yet, so there is nothing to read")
        if self.entries * self.slots <= budget:
            return self._sequence(self._store)
        if self.read_with is not None:
            return self.read_with(self._sequence(self._store), budget, query)
        fewer = self._reduced(self._store, max(1, budget // self.slots))
        whole = self._sequence(fewer)
        if len(whole) <= budget:
            return whole
        run = torch.arange(self.slots, device=whole.mask.device) * budget // self.slots
        return whole.merge(run[self._slot_order(fewer)])

    def _frames(self, seq: VisualSequence) -> _Store:
        """The piece as (B, T, S, ...) tensors, or a ValueError."""
        B, N, D = seq.tokens.shape
        if not seq.mask.all():
            raise ValueError("Bank: rows of unequal length cannot share a bank; write each row to a bank of its own")
        if (seq.grid is not None and seq.grid[1] * seq.grid[2] != self.slots) or N % self.slots:
            shape = f"a raster {seq.grid}" if seq.grid is not None else f"{N} tokens a row"
            raise ValueError(f"Bank: frames must have slots={self.slots} tokens, got {shape}")
        tokens = seq.tokens.to(torch.promote_types(seq.tokens.dtype, torch.float32))
        frames = _Store(*(x.unflatten(1, (-1, self.slots)) for x in (tokens, seq.mass, seq.span, seq.box)))
        if not (frames.span == frames.span[:, :, :1]).all():
            raise ValueError(f"Bank: each run of {self.slots} tokens must be one frame, of one span; these are not")
        if not frames.tokens.isfinite().all():
            raise ValueError("Bank: a token is NaN or infinite; it would spread over what it is joined with")
        if (seq.segment != seq.segment[:, :1]).any():
            raise ValueError("Bank: a row holds several films; write each film to a bank of its own")
        starts = frames.span[:, :, 0, 0]
        if self._store is not None:
            held = (self._store.tokens.shape[0], self._store.tokens.shape[3], self._dtype)
            if held != (B, D, seq.tokens.dtype):
                raise ValueError(f"Bank: holds (batch, width, dtype) {held}, got {(B, D, seq.tokens.dtype)}")
            if not torch.equal(seq.segment[:, 0].to(self._segment.device), self._segment):
                raise ValueError("Bank: this is another film, of another segment; call reset() before it")
            starts = torch.cat([self._last[:, None].to(starts.device), starts], 1)
        if (starts.diff(dim=1) < 0).any():
            row = int((starts.diff(dim=1) < 0).any(1).nonzero()[0, 0])
            back = int((starts[row].diff() < 0).nonzero()[0, 0])
            raise ValueError(
                f"Bank: time goes backwards, from {starts[row, back]:.3f} s to {starts[row, back + 1]:.3f} s; "
                "call reset() before another stream"
            )
        return frames

    def _reduced(self, store: _Store, entries: int) -> _Store:
        """The store brought down to so many entries, one at a time."""
        for left in range(store.tokens.shape[1] - 1, entries - 1, -1):
            store = store.become(self.reduce(store.tokens, store.mass), left)
        return store

    def _slot_order(self, store: _Store) -> Tensor:
        """(B, N) positions in entry-major order that put the tokens in time order."""
        return store.span[..., 0].flatten(1).argsort(dim=1, stable=True)

    def _sequence(self, store: _Store) -> VisualSequence:
        """The store as tokens in time order; a raster while every slot still tells the same times."""
        B, M, S, _ = store.tokens.shape
        order = self._slot_order(store)

        def pick(values: Tensor) -> Tensor:
            flat = values.reshape(B, M * S, -1)
            return flat.gather(1, order[..., None].expand(flat.shape)).reshape(B, M * S, *values.shape[3:])

        raster = (store.span == store.span[:, :, :1]).all()
        return VisualSequence(
            tokens=pick(store.tokens).to(self._dtype),
            span=pick(store.span),
            box=pick(store.box),
            mass=pick(store.mass),
            segment=self._segment.to(store.mass.device)[:, None].expand(B, M * S).clone(),
            mask=torch.ones(B, M * S, dtype=torch.bool, device=store.mass.device),
            grid=(M, *self._raster) if raster else None,
        )

    def save(self, path: str | Path) -> None:
        """Write the whole state to one safetensors file."""
        from safetensors.torch import save_file

        tensors = {"segment": self._segment, "last": self._last}
        if self._store is not None:
            tensors |= {name: values.contiguous() for name, values in self._store._asdict().items()}
        state = {"seen": str(self.seen), "raster": "x".join(map(str, self._raster)), "dtype": str(self._dtype)}
        save_file(tensors, path, metadata=self._kind() | state)

    def load(self, path: str | Path) -> None:
        """Take up the state that ``save`` wrote; a ValueError if the file is of another kind or capacity."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                found, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"Bank: {path} is no safetensors file ({error})") from error
        for name, value in self._kind().items():
            if found.get(name) != value:
                raise ValueError(f"Bank: {path} was saved with {name}={found.get(name)}, this bank has {name}={value}")
        height, width = (int(n) for n in found["raster"].split("x"))
        self.seen, self._raster = int(found["seen"]), (height, width)
        self._dtype = getattr(torch, found["dtype"].removeprefix("torch."))
        self._segment, self._last = tensors.pop("segment"), tensors.pop("last")
        self._store = _Store(**tensors) if tensors else None

    def _kind(self) -> dict[str, str]:
        reduce = type(self.reduce).__name__
        return {
            "kind": "seefar.memory.Bank",
            "capacity": str(self.capacity),
            "slots": str(self.slots),
            "reduce": reduce,
        }
