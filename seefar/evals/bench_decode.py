"""What the attention of the next token costs behind a long cache: picked keys beside all of them.

Contenders take turns in one process, as in ``race``. The bound is that of
the bytes that must be read: picked keys and values, and the keys that the search scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch.nn.functional import scaled_dot_product_attention

from seefar.evals.protocols import cost_sweep
from seefar.evals.race import PROBE, Probe, bar, bar_rows, cores, limits_of, machine_now
from seefar.evals.swapped_attention import Attend, decoding
from seefar.hf.hip import HiP
from seefar.ops.tree_topk import rounds

AT_LEAST = 5


def run(
    threads: int = 2,
    repeats: int = 5,
    *,
    lengths: tuple[int, ...] = (4096, 8192, 16384, 32768, 65536),
    heads: int = 8,
    width: int = 64,
    tokens: int = 8,
    probe: Probe = PROBE,
) -> dict[str, Any]:
    """Seconds of new tokens by the keys before them, for PyTorch's fused attention and for HiP; with its bar.

    Args:
        threads: cores that every contender may use.
        repeats: turns of each contender; the shortest counts.
        lengths: keys in the cache.
        heads: of queries and of keys.
        width: of a head.
        tokens: new ones of a call, which begins with nothing found out about the cache.
        probe: what measures the machine.
    """
    if threads < 1 or repeats < 1:
        raise ValueError(f"bench decode: threads and repeats must be at least 1, got {threads} and {repeats}")
    hip = partial(HiP, refresh=tokens)
    contenders: dict[str, Callable[[], Attend]] = {
        "torch SDPA": lambda: scaled_dot_product_attention,
        "seefar HiP": hip,
        "seefar HiP, a search for each token": partial(HiP, refresh=1),
    }
    with cores(threads):
        started, limits = time.time(), limits_of(probe)
        arms = {name: decoding(make, tokens=tokens, heads=heads, width=width) for name, make in contenders.items()}
        seconds, _ = cost_sweep(arms, lengths, _Quiet(), repeats=repeats, name="bench decode")
    each = {name: {n: figure.mean / tokens for n, figure in row.items()} for name, row in seconds.items()}
    last = lengths[-1]
    read = {
        "torch SDPA": 2.0 * last,
        "seefar HiP": _keys_read(hip(), last, tokens),
        "seefar HiP, a search for each token": _keys_read(hip(), last, 1),
    }
    bounds = {name: 4 * heads * width * keys / limits["copy_bytes"] for name, keys in read.items()}
    faster = each["torch SDPA"][last] / each["seefar HiP"][last]
    return {
        "machine": machine_now(threads),
        "heads": heads,
        "width": width,
        "repeats": repeats,
        "limits": limits,
        "seconds": {name: {str(n): value for n, value in row.items()} for name, row in each.items()},
        "exponent": {name: seconds.slope(name) if len(lengths) > 1 else 0.0 for name in seconds},
        "ratio": {name: each["torch SDPA"][last] / row[last] for name, row in each.items()},
        "fraction": {name: bounds[name] / each[name][last] for name in each},
        "bars": [
            bar(f"HiP, attention of a new token behind {last} keys, times faster than dense", faster, at_least=AT_LEAST)
        ],
        "took": round(time.time() - started, 1),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: the bar first, then a row for each contender."""
    lengths = list(next(iter(result["seconds"].values())))
    lines = [
        *bar_rows(result["bars"]),
        "",
        f"| ms of a new token behind | {' | '.join(lengths)} | exponent | times as fast | fraction of the limit |",
        "|---" * (len(lengths) + 4) + "|",
    ]
    for name, row in result["seconds"].items():
        cells = [f"{value * 1e3:.2f}" for value in row.values()]
        ends = [f"{result['exponent'][name]:.2f}", f"{result['ratio'][name]:.3g}", f"{result['fraction'][name]:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells + ends)} |")
    machine = result["machine"]
    shape = f"{result['heads']} heads of {result['width']}, float32"
    return "\n".join(
        [*lines, "", f"{shape}; {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}."]
    )


def _keys_read(hip: HiP, length: int, tokens: int) -> float:
    """Rows of keys and values that a token needs: those attended to, and its share of those the search scores."""
    if hip.keep + hip.window + hip.sinks >= length:
        return 2.0 * length
    width = hip.block[1]
    span = (length - hip.window - hip.sinks) // width
    return 2.0 * (hip.keep + hip.window + hip.sinks) + hip.keep * (1 + rounds(span, hip.keep // width)) / tokens


class _Quiet:
    """A ``Setting`` that keeps and tells nothing."""

    seeds, folder, progress = (0,), None, None
