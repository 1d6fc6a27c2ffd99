"""Attention on a machine of two memories: a fast one of few numbers, and a slow one whose every access is counted.

The tiles are really computed, from what was read and nothing else, so a schedule that moves too little gives wrong
results. What is counted is what decides the time of attention on hardware whose arithmetic outruns its memory.

B batch, H heads, N queries, M keys, d width of a head; n and m are the rows and columns of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seefar.ops.attention.rules import Rules


@dataclass(frozen=True)
class Traffic:
    """Numbers (not bytes) that crossed between the memories, over all heads.

    Args:
        reads: from the slow memory. writes: to it.
        held: the most that the fast memory held at once for one head; 0 for a schedule that is not made for one.
    """

    reads: int
    writes: int
    held: int

    @property
    def total(self) -> int:
        return self.reads + self.writes


class Traced(NamedTuple):
    """What a schedule computed, and what it moved; the last two are None where no ``do`` was given."""

    o: Tensor
    lse: Tensor
    forward: Traffic
    gradients: tuple[Tensor, Tensor, Tensor] | None
    backward: Traffic | None

    @property
    def total(self) -> int:
        """Numbers moved by all passes that ran."""
        return self.forward.total + (0 if self.backward is None else self.backward.total)


class SlowMemory:
    """Holds whole tensors (B, H, rows, width) by name and hands out copies of rows, for a count."""

    def __init__(self, **arrays: Tensor) -> None:
        self.arrays = arrays
        self.reads = self.writes = self.held = 0

    def read(self, name: str, rows: slice = slice(None)) -> Tensor:
        tile = self.arrays[name][:, :, rows].clone()
        self.reads += tile.numel()
        return tile

    def write(self, name: str, tile: Tensor, rows: slice = slice(None)) -> None:
        """Put rows into an array that is there, or all of a new one."""
        if name in self.arrays:
            self.arrays[name][:, :, rows] = tile
        else:
            self.arrays[name] = tile.clone()
        self.writes += tile.numel()

    def hold(self, *tiles: Tensor) -> None:
        """Note that these are in the fast memory together."""
        self.held = max(self.held, sum(tile.shape[-2] * tile.shape[-1] for tile in tiles))

    def traffic(self) -> Traffic:
        return Traffic(self.reads, self.writes, self.held)


Pass = Callable[[SlowMemory, Rules, int], None]


def trace(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    do: Tensor | None = None,
    *,
    on_chip: int,
    schedule: str = "fa1",
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
) -> Traced:
    """Attention as a schedule computes it, with the traffic that costs; a measuring tool, not a fast path.

    Args:
        q: (B, H, N, d) queries.
        k: (B, H, M, d) keys.
        v: (B, H, M, d) values.
        do: (B, H, N, d) gradient of the output; with it the backward is run and counted too.
        on_chip: numbers that the fast memory is made for, from 4 d up; a schedule holds a small multiple of it at most.
        schedule: one of ``SCHEDULES``. "fa1" is that of FlashAttention: keys outside, queries inside. "naive" writes
            out scores and weights whole and reads each factor of a product once, which flatters it.
        causal: as in ``attention``; tiles that nobody may see move nothing.
        window: as in ``attention``.
        scale: 1 / sqrt(d) when left out.

    Raises:
        ValueError: shapes that do not fit, a fast memory that is too small, or an unknown schedule.

    Reference: Dao et al., FlashAttention, arXiv 2205.14135, algorithms 0, 1, 3, 4 and theorem 2. Differs: no dropout.
    """
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] + q.shape[3:] != k.shape[:2] + k.shape[3:]:
        shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"trace: needs q (B, H, N, d), k and v (B, H, M, d), got {shapes}; repeat shared key heads")
    if do is not None and do.shape != q.shape:
        raise ValueError(f"trace: do is the gradient of the output, {tuple(q.shape)}, got {tuple(do.shape)}")
    if on_chip < 4 * q.shape[-1]:
        raise ValueError(f"trace: on_chip must be at least 4 d = {4 * q.shape[-1]} numbers, got {on_chip}")
    if schedule not in SCHEDULES:
        raise ValueError(f"trace: unknown schedule {schedule!r}, expected one of {sorted(SCHEDULES)}")
    N, d = q.shape[2:]
    rules = Rules(N, k.shape[2], causal, window, None, d**-0.5 if scale is None else scale, lse=True)
    forward, backward = SCHEDULES[schedule]
    memory = SlowMemory(q=q, k=k, v=v)
    forward(memory, rules, on_chip)
    arrays = memory.arrays
    o, lse = arrays["o"], (arrays["m"] + arrays["l"].log()).squeeze(-1)
    if do is None:
        return Traced(o, lse, memory.traffic(), None, None)
    again = SlowMemory(**arrays, do=do)
    backward(again, rules, on_chip)
    gradients = again.arrays["dq"], again.arrays["dk"], again.arrays["dv"]
    return Traced(o, lse, memory.traffic(), gradients, again.traffic())


def formula(schedule: str, N: int, M: int, d: int, on_chip: int) -> tuple[float, float]:
    """Numbers that the forward and the backward of one head move, where every query sees every key.

    fa1: N d + 2 M d + 12 N M d^2 / on_chip and N d + 4 M d + 20 N M d^2 / on_chip, the statistics of the rows left out.
    naive: 2 (N + M) d + 4 N M and 4 (N + M) d + 7 N M, whatever the fast memory.
    """
    if schedule == "naive":
        return 2 * (N + M) * d + 4 * N * M, 4 * (N + M) * d + 7 * N * M
    if schedule == "fa1":
        tiles = N * M * d**2 / on_chip
        return (N + 2 * M) * d + 12 * tiles, (N + 4 * M) * d + 20 * tiles
    raise ValueError(f"formula: unknown schedule {schedule!r}, expected one of {sorted(SCHEDULES)}")


def _fa1_forward(memory: SlowMemory, rules: Rules, on_chip: int) -> None:
    """Each tile of keys is read once and meets all queries, whose output is brought up to date, divided each time."""
    q = memory.arrays["q"]
    memory.write("o", torch.zeros_like(q))
    memory.write("l", torch.zeros_like(q[..., :1]))
    memory.write("m", torch.full_like(q[..., :1], -torch.inf))
    for columns, row_tiles in _tiles(rules, q, on_chip):
        k, v = memory.read("k", columns), memory.read("v", columns)
        for rows in row_tiles:
            q, o, total, top = (memory.read(name, rows) for name in ("q", "o", "l", "m"))
            scores = _scores(q, k, rules, rows, columns)
            memory.hold(k, v, q, o, total, top, scores)
            higher = torch.maximum(top, scores.amax(-1, keepdim=True))
            base = higher.masked_fill(higher == -torch.inf, 0)  # a row that has met no key yet
            weights = (scores - base).exp()
            kept = (top - base).exp() * total
            total = kept + weights.sum(-1, keepdim=True)
            memory.write("o", (kept * o + weights @ v) / total.masked_fill(total == 0, 1), rows)
            memory.write("l", total, rows)
            memory.write("m", higher, rows)


def _fa1_backward(memory: SlowMemory, rules: Rules, on_chip: int) -> None:
    """Weights are computed again from the saved statistics; dk and dv of a tile stay until all queries have passed."""
    q = memory.arrays["q"]
    memory.write("dq", torch.zeros_like(q))
    for name in ("dk", "dv"):  # room for the result, which is written tile by tile
        memory.arrays[name] = torch.zeros_like(memory.arrays["k"])
    for columns, row_tiles in _tiles(rules, q, on_chip):
        k, v = memory.read("k", columns), memory.read("v", columns)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for rows in row_tiles:
            q, o, do, dq, total, top = (memory.read(name, rows) for name in ("q", "o", "do", "dq", "l", "m"))
            weights = (_scores(q, k, rules, rows, columns) - top.masked_fill(total == 0, 0)).exp()
            weights = weights / total.masked_fill(total == 0, 1)
            dscores = weights * (do @ v.mT - (do * o).sum(-1, keepdim=True)) * rules.scale
            memory.hold(k, v, dk, dv, q, o, do, dq, total, top, weights, dscores)
            dv += weights.mT @ do
            dk += dscores.mT @ q
            memory.write("dq", dq + dscores @ k, rows)
        memory.write("dk", dk, columns)
        memory.write("dv", dv, columns)


def _naive_forward(memory: SlowMemory, rules: Rules, _: int) -> None:
    """Scores, weights and output one after the other, each whole; the statistics are kept for the caller alone."""
    everything = slice(0, rules.N), slice(0, rules.M)
    memory.write("s", _scores(memory.read("q"), memory.read("k"), rules, *everything))
    scores = memory.read("s")
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top.masked_fill(top == -torch.inf, 0)).exp()
    total = weights.sum(-1, keepdim=True)
    memory.arrays |= {"m": top, "l": total}
    memory.write("p", weights / total.masked_fill(total == 0, 1))
    memory.write("o", memory.read("p") @ memory.read("v"))


def _naive_backward(memory: SlowMemory, rules: Rules, _: int) -> None:
    memory.write("dv", memory.read("p").mT @ memory.read("do"))
    memory.write("dp", memory.read("do") @ memory.read("v").mT)
    weights, dweights = memory.read("p"), memory.read("dp")
    memory.write("ds", weights * (dweights - (weights * dweights).sum(-1, keepdim=True)) * rules.scale)
    memory.write("dq", memory.read("ds") @ memory.read("k"))
    memory.write("dk", memory.read("ds").mT @ memory.read("q"))


SCHEDULES: dict[str, tuple[Pass, Pass]] = {
    "fa1": (_fa1_forward, _fa1_backward),
    "naive": (_naive_forward, _naive_backward),
}


def _tiles(rules: Rules, q: Tensor, on_chip: int) -> Iterator[tuple[slice, list[slice]]]:
    """Each tile of m = ceil(on_chip / 4d) keys, with the tiles of n = min(m, d) queries of which one may see it."""
    d = q.shape[-1]
    m = math.ceil(on_chip / (4 * d))
    n = min(m, d)
    rows = [slice(i, min(i + n, rules.N)) for i in range(0, rules.N, n)]
    for j in range(0, rules.M, m):
        columns = slice(j, min(j + m, rules.M))
        yield columns, [r for r in rows if _meet(rules, r, columns)]


def _meet(rules: Rules, rows: slice, columns: slice) -> bool:
    first, last = rules.keys_of(rows.start, rows.stop)
    return first < columns.stop and columns.start < last


def _scores(q: Tensor, k: Tensor, rules: Rules, rows: slice, columns: slice) -> Tensor:
    """Scaled scores of a tile, -inf where they are forbidden: that follows from places, so it is not read."""
    allowed = rules.allowed(rows, columns, q.device)
    scores = q @ k.mT * rules.scale
    return scores if allowed is None else scores.masked_fill(~allowed[:, :, 0], -torch.inf)
