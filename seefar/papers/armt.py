"""ARMT: a decoder with an associative memory around each layer reads without end (Rodkin et al. 2024).

Text is read in segments. A few memory tokens at the end of each one are written into a matrix beside every layer, key
by key, and every token of the next segments looks itself up in it. Writing a key again replaces its value and
nothing else, so that facts neither fade with what comes after nor pile up. State and time of a segment stay the same.
"""

from __future__ import annotations

from typing import Any

from seefar.evals.protocols import Curves, recall
from seefar.evals.recall import cache_after, cost_after, decoder, memory_alone, segments_after, trained
from seefar.mixers.associative import WriteRule
from seefar.mixers.layer_memory import LayerMemory
from seefar.mixers.segments import Segments
from seefar.mixers.token_memory import TokenMemory
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.recall import associative_recall, rewriting_recall
from seefar.training.curriculum import Curriculum

CARD = Card(
    number=196,
    title="Associative Recurrent Memory Transformer",
    arxiv="2407.04841",
    code="RodkinIvan/associative-recurrent-memory-transformer",
    published=(
        "BABILong: 79.9 % of single-fact questions answered after 50 million tokens; better than RMT and Mamba at "
        "associative retrieval"
    ),
    holds_when=(
        "the memory alone, untrained, on the published task with random vectors for its keys (width 64, DPFP-3) and "
        "its 16 values (width 128): at least 0.9 recalled at 50 pairs and 0.8 at 200, both where each of 4096 keys "
        "comes at most once and where 16 keys are written over and over. A decoder of two layers and width 64 with it: "
        "after 10, 100, 1000 and 10,000 segments its state has the same bytes and a segment takes the same time, "
        "largest over smallest at most 1.05. At gpu scale also: the decoder, trained on up to 50 pairs, has an exact "
        "match of at least 0.9 at 50 and 0.8 at 200"
    ),
    control=(
        "the memory without gamma, and a Hebbian one, must each miss one of the four shares; the same decoder with a "
        "cache of all keys must miss both bars of cost; at gpu scale RMT, trained alike, must stay at 0.5 at 50 pairs "
        "or below"
    ),
)
TASKS = {"keys once": (associative_recall, 3), "keys rewritten": (rewriting_recall, 1)}
"""With the symbols of a key, 16 to choose from for each."""
RULES = {
    "gamma delta": WriteRule(),
    "no gamma": WriteRule(correct=False),
    "Hebbian": WriteRule(replace=False, correct=False),
}
NOTE = (
    "without a GPU nothing is trained: what a model learns to write and the comparison with RMT are not shown; Mamba, "
    "BABILong and a fact found again after millions of tokens are not at any scale"
)


def build(
    model: Any,
    *,
    segment: int = 512,
    tokens: int = 10,
    width: int = 64,
    rule: WriteRule | None = None,
    truncate: int | None = None,
) -> Segments:
    """Any decoder with the memory around its layers, with the settings published for GPT-2.

    Args:
        model: of transformers; used alone it goes on as it was.
        segment: tokens of text in one.
        tokens: that are written at the end of each segment.
        width: of a key.
        rule: how the memories are written and read.
        truncate: segments that a gradient reaches back; None for all.
    """
    return Segments(model, LayerMemory(model, tokens, width=width, rule=rule), segment=segment, truncate=truncate)


def claim(scale: Scale) -> Verdict:
    """What the memory holds, what it costs, and where there is a GPU what a model learns to do with it."""
    counts, bars = scale.pick((2, 8), (50, 100, 200, 400)), scale.pick(((2, 0.9), (8, 0.8)), ((50, 0.9), (200, 0.8)))
    held = {
        name: recall({a: memory_alone(r, make, key_size=size) for a, r in RULES.items()}, counts, scale, name=name)
        for name, (make, size) in TASKS.items()
    }
    passed = {
        arm: {f"{name}: {bar} at {n} pairs": held[name][arm][n].mean >= bar for name in TASKS for n, bar in bars}
        for arm in RULES
    }
    model, ages = decoder(64, 2), scale.pick((1, 4), (10, 100, 1000, 10_000))
    arms = {"memory": segments_after(build(model, segment=5, tokens=4)), "cache": cache_after(model, 5)}
    seconds, size = cost_after(arms, ages, scale, repeats=scale.pick(1, 30))
    swing = {arm: max(f.mean for f in row.values()) / min(f.mean for f in row.values()) for arm, row in seconds.items()}

    figures: dict[str, Any] = {name: curves.to_json() for name, curves in held.items()}
    figures |= {"seconds of 20 segments": seconds.to_json(), "bytes remembered": size, "slowest over fastest": swing}
    steady = {arm: (swing[arm] <= 1.05, len(set(size[arm].values())) == 1) for arm in arms}
    checks = passed["gamma delta"] | {"constant time": steady["memory"][0], "constant state": steady["memory"][1]}
    controls = {f"{arm} misses a share": not all(passed[arm].values()) for arm in ("no gamma", "Hebbian")}
    controls["a cache of all keys grows"] = not any(steady["cache"])
    if lessons := scale.pick([(1, 2)], [], [*((500, pairs) for pairs in (1, 2, 3, 5, 10, 20)), (1000, 50)]):
        curves = _trained(scale, Curriculum(lessons), [n for n, _ in bars])
        figures["exact match, trained"] = curves.to_json()
        checks |= {f"trained: {bar} at {n} pairs": curves["armt"][n].mean >= bar for n, bar in bars}
        controls["RMT, trained alike"] = curves["rmt"][bars[0][0]].mean <= 0.5
    return Verdict(figures, checks, controls, NOTE)


def _trained(scale: Scale, lessons: Curriculum[int], counts: list[int]) -> Curves:
    def armt() -> Segments:
        return build(decoder(64, 2), segment=5, tokens=4)

    def rmt() -> Segments:
        return Segments(base := decoder(64, 2), TokenMemory(base, 4), segment=5)

    sizes = {"batch": scale.pick(2, 512), "tests": scale.pick(2, 1000)}
    arms = {f.__name__: trained(f, associative_recall, lessons, scale, key_size=2, **sizes) for f in (armt, rmt)}
    return recall(arms, counts, scale, name="trained")
