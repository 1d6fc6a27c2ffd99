"""FlashAttention-2: the same exact attention with its loops turned inside out, which saves small change (Dao 2023).

FlashAttention keeps a tile of keys and lets all queries pass by, so each partial output is read, divided and written
again and again. Turn the loops: a tile of queries stays, keys pass by, the output is divided once at the end, and only
one statistic of a row is written. Each tile of queries is then a piece of work of its own, so that a single long text
fills a whole chip; and what causality forbids is not computed at all.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from seefar.evals import attention_schedule as schedules
from seefar.evals.counted import timed
from seefar.evals.long_attention import Attend
from seefar.evals.protocols import Arm, Curves, sweep
from seefar.evals.recall import cost_after
from seefar.ops.attention import attention
from seefar.ops.attention.fa2 import programs
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=112,
    title="FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
    arxiv="2307.08691",
    code="Dao-AILab/flash-attention",
    published="on an A100 about twice as fast as FlashAttention, 50 to 73 % of the peak forward; GPT models train at "
    "225 TFLOP/s",
    holds_when="one head of 64, tiles of 64 x 64, run on a counted slow memory at 512 to 2048 tokens: outputs and "
    "gradients are PyTorch's in float64 to 1e-12; each number of the output is divided once; the causal share of all "
    "products is exactly (T + 1) / 2T for T tiles; forward moves at most 0.75 times the numbers of FlashAttention's "
    "order, backward at most 0.85 times; with two passes dq is the same to the bit in any order of programs. Our tiled "
    "CPU backend, which runs that order, 2 heads of 64, 4096 tokens: causal takes at most 0.58 of the processor's "
    "seconds of full attention, forward alone and with backward. Speed on an H200 is left out at this scale",
    control="FlashAttention's order must divide more than once; sums in slow memory must differ in bits between "
    "orders; the materialised reference, which skips nothing, must miss the 0.58 in both passes",
)
PASSES = ("forward", "forward and backward")


def build(*, causal: bool = True, window: int | None = None) -> Attend:
    """Exact attention of (B, H, N, d) queries to (B, Hkv, M, d) keys and values by tiles, queries outside."""
    return partial(attention, causal=causal, window=window, backend="tiled")


def claim(scale: Scale) -> Verdict:
    """What two orders of the same tiles divide, compute and move; then the seconds that causality saves."""
    width, lengths = scale.pick((8, [16, 32]), (64, [512, 1024, 2048]))
    count = partial(_counts, scale, width, lengths)
    divided, products = count("divisions"), count("causal share of products")
    there, back = count("moved forward"), count("moved backward")
    off = max(schedules.error("fa2", length=lengths[0], width=width, seed=seed) for seed in scale.seeds)
    bits = partial(schedules.other_bits, length=lengths[0], width=width, seed=scale.seeds[0])
    changed = {name: bits(name) for name in schedules.SCHEDULES[1:]}
    long = scale.pick([32, 64], [2048, 4096])
    seconds = {name: _seconds(scale, long, backward=name != PASSES[0]) for name in PASSES}
    share = {name: {way: _share(row, way, long[-1]) for way in ("tiled", "reference")} for name, row in seconds.items()}
    expected = {n: (n // width + 1) / (2 * (n // width)) for n in lengths}
    return Verdict(
        figures={
            "largest error in float64": off,
            "divisions of each number of the output": divided.to_json(),
            "causal share of all products": products.to_json(),
            "numbers moved forward": there.to_json(),
            "numbers moved backward": back.to_json(),
            "orders of 4 with other bits of dq": changed,
            "programs that can run at once, 8192 tokens": programs(8192, (128, 64), batch=1, heads=2),
            "seconds of the processor": {name: row.to_json() for name, row in seconds.items()},
            "causal over full seconds, most tokens": share,
        },
        checks={
            "PyTorch's results to 1e-12": off <= 1e-12,
            "each number divided once": all(row.mean == 1 for row in divided["fa2"].values()),
            "causal products: half and the diagonal": all(products["fa2"][n].mean == expected[n] for n in lengths),
            "forward moves at most 0.75 of FlashAttention": _most(there) <= 0.75,
            "backward moves at most 0.85 of FlashAttention": _most(back) <= 0.85,
            "two passes: the same bits in any order": changed["fa2, two passes"] == 0,
            **{f"{name}: causal at most 0.58 of full": share[name]["tiled"] <= 0.58 for name in PASSES},
        },
        controls={
            "FlashAttention divides more than once": min(row.mean for row in divided["fa1"].values()) > 1,
            "sums in slow memory: other bits": changed["fa2"] > 0,
            **{f"{name}: the reference above 0.58": share[name]["reference"] > 0.58 for name in PASSES},
        },
        note="the authors count time, here counts stand for it; tiles are as large for both orders",
    )


def _counts(scale: Scale, width: int, lengths: list[int], what: schedules.What) -> Curves:
    arms: dict[str, Arm] = {name: schedules.counted(name, what, width=width) for name in schedules.SCHEDULES}
    return sweep(what, arms, lengths, scale)


def _most(moved: Curves) -> float:
    return max(moved["fa2"][n].mean / moved["fa1"][n].mean for n in moved["fa1"])


def _seconds(scale: Scale, lengths: list[int], *, backward: bool) -> Curves:
    ways: dict[str, Attend] = {f"{name}, full": _run(name, False) for name in ("tiled", "reference")}
    ways |= {f"{name}, causal": _run(name, True) for name in ("tiled", "reference")}
    heads, width = scale.pick((1, 8), (2, 64))
    calls = timed(schedules.passes(ways, heads=heads, width=width, backward=backward))
    return cost_after(calls, lengths, scale, repeats=scale.pick(1, 5))[0]


def _run(backend: str, causal: bool) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, causal=causal, backend=backend)

    return attend


def _share(seconds: Curves, way: str, length: int) -> float:
    return seconds[f"{way}, causal"][length].mean / seconds[f"{way}, full"][length].mean
