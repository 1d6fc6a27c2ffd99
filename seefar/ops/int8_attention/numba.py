"""Tiles of whole numbers on the CPU, by a kernel that numba compiles; no scores are ever written out.

Numbers of eight bits lie in lanes of sixteen, in pairs, as the fastest product of whole numbers wants them.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from seefar.ops._cpu import spread
from seefar.ops.int8_attention.quantize import quantize_int8
from seefar.ops.int8_attention.rules import Rounded

WIDEST = 2**15
"""Channels of which products of 127 by 127 still fit into an int32, with room."""


def cannot_run(q: Tensor, *_: Tensor) -> str | None:
    """Needs numba and the CPU."""
    if find_spec("numba") is None:
        return "numba is not installed: pip install 'seefar[fast]'"
    if q.device.type != "cpu":
        return f"needs the CPU, got {q.device}"
    return None if q.shape[-1] <= WIDEST else f"needs at most {WIDEST} channels, got {q.shape[-1]}"


def run(q: Tensor, k: Tensor, v: Tensor, how: Rounded) -> tuple[Tensor, Tensor]:
    """Each block of queries of a head is a piece."""
    from seefar.ops.int8_attention import _kernels

    (B, H, N, d), (Hkv, M), dv = q.shape, k.shape[1:3], v.shape[-1]
    left, q_scale = _queries(q, how)
    right, k_scale = _keys(k, how)
    values, v_scale = _values(v, how)
    o, lse = q.new_empty(B * H, N, dv, dtype=torch.float32), q.new_empty(B * H, N, dtype=torch.float32)
    outs, sums, step = o.numpy(), lse.numpy(), int(how.causal)
    blocks, attend = -(-N // how.queries), _kernels.attend

    def piece(i: int) -> None:
        head, start = i // blocks, i % blocks * how.queries
        other, stop = head // H * Hkv + head % H // (H // Hkv), min(start + how.queries, N)
        last = M - N + start if how.causal else M
        rows = left[head, start : start + -(-(stop - start) // 4) * 4]
        attend(
            rows, q_scale[head, i % blocks], right[other], k_scale[other], values[other], v_scale[other],
            (M, last, how.weights, step), outs[head, start:stop], sums[head, start:stop],
        )  # fmt: skip

    spread(piece, B * H * blocks, work=B * H * N * M * (d + dv) // (1 + step))
    return o.view(B, H, N, dv), (lse * math.log(2)).view(B, H, N)


def _queries(q: Tensor, how: Rounded) -> tuple[Any, Any]:
    """(heads, rows, 2 D) int16, and (heads, blocks) scales in units of log 2."""
    numbers, scale = quantize_int8(q.flatten(0, 1), "block", block=how.queries)
    numbers = _filled(numbers, q.shape[-1] % 2, -q.shape[2] % 4)
    return _lanes(numbers), (scale[:, :: how.queries, 0] * (how.scale * math.log2(math.e))).numpy()


def _keys(k: Tensor, how: Rounded) -> tuple[Any, Any]:
    """(heads, tiles, panels, D, 16, 2) int16, and (heads, tiles) scales."""
    numbers, scale = quantize_int8(k.flatten(0, 1), "block", block=how.keys)
    numbers = _filled(numbers, k.shape[-1] % 2, -k.shape[2] % how.keys)
    panels = numbers.unflatten(2, (-1, 2)).unflatten(1, (-1, how.keys // 16, 16)).transpose(3, 4)
    return _lanes(panels), scale[:, :: how.keys, 0].contiguous().numpy()


def _values(v: Tensor, how: Rounded) -> tuple[Any, Any]:
    """(heads, tiles, panels, pairs of keys, 16, 2) int16, and (heads, dv) scales."""
    numbers, scale = quantize_int8(v.flatten(0, 1), "channel", levels=how.values)
    numbers = _filled(numbers, -v.shape[-1] % 16, -v.shape[2] % how.keys)
    panels = numbers.unflatten(2, (-1, 16)).unflatten(1, (-1, how.keys // 2, 2)).permute(0, 1, 4, 2, 5, 3)
    return _lanes(panels), scale[:, 0].contiguous().numpy()


def _filled(numbers: Tensor, channels: int, tokens: int) -> Tensor:
    """With so many zeros behind channels and tokens."""
    return pad(numbers, (0, channels, 0, tokens)) if channels or tokens else numbers


def _lanes(numbers: Tensor) -> Any:
    """Sixteen bits each, in the order of the axes."""
    return numbers.to(torch.int16).contiguous().numpy()
