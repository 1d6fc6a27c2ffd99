"""Attention as FlashAttention-2 orders it, on the counted machine of ``traffic``: queries outside, keys inside.

Each tile of queries is a program of its own. It keeps an output that is not divided yet, and divides it once; of the
statistics only their log-sum-exp is written. The backward gives each tile of keys to a program, which keeps dk and dv,
and adds to dq in slow memory, or leaves dq to a second pass.

B batch, H query heads, Hkv key heads, G = H / Hkv, N queries, M keys, d width; n and m rows and columns of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seefar.ops.attention.check import check_heads
from seefar.ops.attention.rules import Rules
from seefar.ops.attention.traffic import SlowMemory, Traced, _meet, _scores


def trace_fa2(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    do: Tensor | None = None,
    *,
    tile: tuple[int, int] = (64, 64),
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    deterministic: bool = True,
    order: Sequence[int] | None = None,
) -> Traced:
    """Attention, and its gradients, by that schedule, with the numbers that it moves; a measuring tool, no fast path.

    Tiles that no query may see are never touched; only those on the edge of what may be seen are masked.

    Args:
        q: (B, H, N, d) queries.
        k: (B, Hkv, M, d) keys; head h reads key head h // G, nothing is repeated.
        v: (B, Hkv, M, d) values.
        do: (B, H, N, d) gradient of the output; with it the backward is run and counted too.
        tile: (n, m).
        causal: as in ``attention``: query i stands at key M - N + i.
        window: as in ``attention``.
        scale: 1 / sqrt(d) when left out.
        deterministic: dq in a second pass, one program for each tile of queries. Otherwise the programs of the keys
            add to it as they come, whose sum depends on who comes first.
        order: in which the programs of the backward's tiles of keys come; one after another when left out.

    Raises:
        ValueError: shapes or options that do not fit, more queries than keys under ``causal``, rows of numbers that do
            not lie together.

    Reference: Dao, FlashAttention-2, arXiv 2307.08691, algorithms 1 and 2, sections 3.1 and 3.2. Differs: no dropout;
    dk and dv of a group of heads are summed by the program itself, not after it.
    """
    _check(q, k, v, do, tile, causal, window)
    (B, H, N, d), Hkv = q.shape, k.shape[1]
    rules = Rules(N, k.shape[2], causal, window, None, d**-0.5 if scale is None else scale, lse=True)
    members = range(H // Hkv)
    of_group = {f"q{g}": part for g, part in zip(members, _members(q, Hkv), strict=True)}
    memory = SlowMemory(k=k, v=v, **of_group)
    for g in members:
        memory.arrays |= {f"o{g}": torch.empty_like(memory.arrays[f"q{g}"])}
        memory.arrays |= {f"lse{g}": q.new_empty(B, Hkv, N, 1)}
        for rows in _cut(N, tile[0]):
            _forward(memory, rules, g, rows, _cut(rules.M, tile[1]))
    o, lse = _whole(memory, "o", members), _whole(memory, "lse", members).squeeze(-1)
    if do is None:
        return Traced(o, lse, memory.traffic(), None, None)
    again = SlowMemory(**memory.arrays)
    again.arrays |= {f"do{g}": part for g, part in zip(members, _members(do, Hkv), strict=True)}
    _backward(again, rules, members, tile, deterministic, order)
    gradients = _whole(again, "dq", members), again.arrays["dk"], again.arrays["dv"]
    return Traced(o, lse, memory.traffic(), gradients, again.traffic())


def formula_fa2(
    N: int, M: int, d: int, tile: tuple[int, int], *, group: int = 1, deterministic: bool = True
) -> tuple[int, int]:
    """Numbers that forward and backward move for one key head and its group, where every query sees every key.

    Forward: N (2 d + 1) + 2 M d ceil(N / n) for each member. Backward: 3 N d + N for each member (the row sums, dq),
    4 M d, N (2 d + 2) ceil(M / m) for each member, and for dq again 2 N d ceil(M / m), or a second pass over the keys
    of N (2 d + 2) + 2 M d ceil(N / n).
    """
    row_tiles, key_tiles = -(-N // tile[0]), -(-M // tile[1])
    forward = group * (N * (2 * d + 1) + 2 * M * d * row_tiles)
    per_member = 3 * N * d + N + N * (2 * d + 2) * key_tiles
    per_member += N * (2 * d + 2) + 2 * M * d * row_tiles if deterministic else 2 * N * d * key_tiles
    return forward, group * per_member + 4 * M * d


def programs(N: int, tile: tuple[int, int], *, batch: int, heads: int) -> dict[str, int]:
    """Independent pieces of the forward: what can run at once. FlashAttention had one for each head."""
    return {"fa1": batch * heads, "fa2": batch * heads * -(-N // tile[0])}


def _forward(memory: SlowMemory, rules: Rules, g: int, rows: slice, key_tiles: list[slice]) -> None:
    q = memory.read(f"q{g}", rows)
    mixed, total = torch.zeros_like(q), torch.zeros_like(q[..., :1])
    top = torch.full_like(total, -torch.inf)
    for columns in key_tiles:
        if not _meet(rules, rows, columns):
            continue
        k, v = memory.read("k", columns), memory.read("v", columns)
        scores = _scores(q, k, rules, rows, columns)
        memory.hold(q, mixed, total, top, k, v, scores)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        base = higher.masked_fill(higher == -torch.inf, 0)  # a row that has met no key yet
        weights, fade = (scores - base).exp(), (top - base).exp()
        total = fade * total + weights.sum(-1, keepdim=True)
        mixed = fade * mixed + weights @ v
        top = higher
    memory.write(f"o{g}", mixed / total.masked_fill(total == 0, 1), rows)
    memory.write(f"lse{g}", top + total.log(), rows)


def _backward(
    memory: SlowMemory,
    rules: Rules,
    members: range,
    tile: tuple[int, int],
    deterministic: bool,
    order: Sequence[int] | None,
) -> None:
    row_tiles, key_tiles = _cut(rules.N, tile[0]), _cut(rules.M, tile[1])
    for name in ("dk", "dv"):  # room for the result, which is written tile by tile
        memory.arrays[name] = torch.empty_like(memory.arrays["k"])
    for g in members:
        like = memory.arrays[f"q{g}"]
        memory.write(f"share{g}", (memory.read(f"do{g}") * memory.read(f"o{g}")).sum(-1, keepdim=True))
        if deterministic:
            memory.arrays[f"dq{g}"] = torch.empty_like(like)
        else:
            memory.write(f"dq{g}", torch.zeros_like(like))
    places = range(len(key_tiles)) if order is None else order
    if sorted(places) != list(range(len(key_tiles))):
        raise ValueError(f"trace_fa2: order names each of {len(key_tiles)} tiles of keys once, got {list(places)}")
    for columns in (key_tiles[i] for i in places):
        _of_keys(memory, rules, members, columns, row_tiles, adds=not deterministic)
    if deterministic:
        for g in members:
            for rows in row_tiles:
                _of_queries(memory, rules, g, rows, key_tiles)


def _of_keys(
    memory: SlowMemory, rules: Rules, members: range, columns: slice, row_tiles: list[slice], *, adds: bool
) -> None:
    k, v = memory.read("k", columns), memory.read("v", columns)
    dk, dv = torch.zeros_like(k), torch.zeros_like(v)
    for g in members:
        for rows in row_tiles:
            if not _meet(rules, rows, columns):
                continue
            q, do, lse, share = (memory.read(f"{name}{g}", rows) for name in ("q", "do", "lse", "share"))
            weights, dscores = _again(q, k, v, do, lse, share, rules, rows, columns)
            memory.hold(k, v, dk, dv, q, do, lse, share, weights, dscores)
            dv += weights.mT @ do
            dk += dscores.mT @ q
            if adds:
                memory.write(f"dq{g}", memory.read(f"dq{g}", rows) + dscores @ k, rows)
    memory.write("dk", dk, columns)
    memory.write("dv", dv, columns)


def _of_queries(memory: SlowMemory, rules: Rules, g: int, rows: slice, key_tiles: list[slice]) -> None:
    q, do, lse, share = (memory.read(f"{name}{g}", rows) for name in ("q", "do", "lse", "share"))
    dq = torch.zeros_like(q)
    for columns in key_tiles:
        if _meet(rules, rows, columns):
            k, v = memory.read("k", columns), memory.read("v", columns)
            _, dscores = _again(q, k, v, do, lse, share, rules, rows, columns)
            memory.hold(q, do, lse, share, dq, k, v, dscores, dscores)
            dq += dscores @ k
    memory.write(f"dq{g}", dq, rows)


def _again(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, lse: Tensor, share: Tensor, rules: Rules, rows: slice, columns: slice
) -> tuple[Tensor, Tensor]:
    """Weights from the saved log-sum-exp, and the gradient of their scores."""
    weights = (_scores(q, k, rules, rows, columns) - lse.masked_fill(lse == -torch.inf, 0)).exp()
    return weights, weights * (do @ v.mT - share) * rules.scale


def _members(x: Tensor, Hkv: int) -> tuple[Tensor, ...]:
    """(B, Hkv, rows, width) of each member of the groups, in which head h = G kv + g."""
    return x.unflatten(1, (Hkv, -1)).unbind(2)


def _whole(memory: SlowMemory, name: str, members: range) -> Tensor:
    return torch.stack([memory.arrays[f"{name}{g}"] for g in members], 2).flatten(1, 2)


def _cut(length: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, length)) for at in range(0, length, size)]


def _check(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor | None, tile: tuple[int, int], causal: bool, window: int | None
) -> None:
    check_heads("trace_fa2", q, k, v)
    if v.shape != k.shape:
        raise ValueError(f"trace_fa2: keys and values must be alike, got {tuple(k.shape)} and {tuple(v.shape)}")
    if do is not None and do.shape != q.shape:
        raise ValueError(f"trace_fa2: do is the gradient of the output, {tuple(q.shape)}, got {tuple(do.shape)}")
    if len(tile) != 2 or min(tile) < 1:
        raise ValueError(f"trace_fa2: tile is (queries, keys), both at least 1, got {tile}")
    if window is not None and window < 1:
        raise ValueError(f"trace_fa2: window must be at least 1, or None for no limit, got {window}")
    if causal and q.shape[2] > k.shape[2]:
        raise ValueError(
            f"trace_fa2: {q.shape[2]} queries end where {k.shape[2]} keys do, so the first would stand before all "
            f"keys; give q[:, :, {q.shape[2] - k.shape[2]}:]"
        )
    apart = [name for name, x in (("q", q), ("k", k), ("v", v), ("do", do)) if x is not None and x.stride(-1) != 1]
    if apart and q.shape[-1] > 1:
        raise ValueError(f"trace_fa2: the numbers of a row must lie together; call {apart[0]}.contiguous()")
