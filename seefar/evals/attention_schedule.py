"""Two orders of the tiles of exact attention side by side: what they compute, divide, move, and repeat bit for bit.

N tokens, d width of a head; tiles are d x d.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.counted import divisions, multiply_adds
from seefar.evals.long_attention import Attend, _pass
from seefar.evals.protocols import Arm, Measure
from seefar.ops.attention.fa2 import trace_fa2
from seefar.ops.attention.traffic import Traced, trace

Schedule = Literal["fa1", "fa2", "fa2, two passes"]
SCHEDULES: tuple[Schedule, ...] = ("fa1", "fa2", "fa2, two passes")
What = Literal["divisions", "moved forward", "moved backward", "causal share of products"]


def scheduled(
    schedule: Schedule,
    given: list[Tensor],
    *,
    backward: bool = True,
    causal: bool = False,
    order: list[int] | None = None,
) -> Traced:
    """One schedule over q, k, v and do (B, H, N, d), in tiles of d x d.

    Args:
        schedule: "fa1" keys outside; "fa2" queries outside, dq added to by the programs of the keys in the order that
            they come; "fa2, two passes" the same with dq by programs of its own.
        given: the inputs.
        backward: gradients too.
        causal: as in ``attention``.
        order: of the programs of keys, for fa2.
    """
    d = given[0].shape[-1]
    inputs = given if backward else given[:3]
    if schedule == "fa1":
        return trace(*inputs, on_chip=4 * d * d, causal=causal)
    return trace_fa2(*inputs, tile=(d, d), causal=causal, deterministic=schedule != "fa2", order=order)


def counted(schedule: Schedule, what: What, *, width: int) -> Arm:
    """By N, of one head: divisions for each number of the output; numbers moved; causal products over all products."""

    def prepared(seed: int) -> Measure:
        def measure(length: int) -> float:
            run = partial(scheduled, schedule, drawn(length, width, seed))
            if what == "divisions":
                return divisions(lambda: run(backward=False)) / (length * width)
            if what == "causal share of products":
                whole, half = (multiply_adds(partial(run, causal=causal)) for causal in (False, True))
                return half / whole
            found = run()
            traffic = found.forward if what == "moved forward" else found.backward
            assert traffic is not None
            return float(traffic.total)

        return measure

    return prepared


def error(schedule: Schedule, *, length: int, width: int, seed: int) -> float:
    """The largest difference of outputs and gradients, causal, from PyTorch's unfused kernel, all in float64."""
    given = [x.double() for x in drawn(length, width, seed)]
    found = scheduled(schedule, given, causal=True)
    q, k, v = (x.requires_grad_() for x in given[:3])
    with sdpa_kernel(SDPBackend.MATH):
        o = scaled_dot_product_attention(q, k, v, is_causal=True)
    wanted = o.detach(), *torch.autograd.grad(o, (q, k, v), given[3])
    assert found.gradients is not None
    return max(float((a - b).abs().max()) for a, b in zip((found.o, *found.gradients), wanted, strict=True))


def other_bits(schedule: Schedule, *, length: int, width: int, seed: int, times: int = 4) -> int:
    """How many of ``times`` orders of the programs give other bits of dq than the first, in float32."""
    given, tiles = drawn(length, width, seed), -(-length // width)
    draw = torch.Generator().manual_seed(seed)
    first, *others = (
        scheduled(schedule, given, order=torch.randperm(tiles, generator=draw).tolist()).gradients
        for _ in range(times + 1)
    )
    assert first is not None
    return sum(other is not None and not torch.equal(first[0], other[0]) for other in others)


def passes(
    ways: Mapping[str, Attend], *, heads: int, width: int, backward: bool
) -> dict[str, Callable[[int], Callable[[], object]]]:
    """For ``evals.counted.timed``: one pass of attention over random inputs of a length, forward or both ways."""
    return {name: partial(_pass, way, heads=heads, width=width, backward=backward) for name, way in ways.items()}


def drawn(length: int, width: int, seed: int) -> list[Tensor]:
    """q, k, v and do (1, 1, N, d) in float32."""
    draw = torch.Generator().manual_seed(seed)
    return list(torch.randn(4, 1, 1, length, width, generator=draw).unbind())
