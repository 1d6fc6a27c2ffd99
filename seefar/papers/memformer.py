"""Memformer: a few slots carry a text from segment to segment, and learn by replaying it backwards (Wu et al. 2020).

All layers read one set of slots; after each segment every slot looks at itself and at the segment's tokens and takes
what it attends to. How to write can only be learnt from what is asked many segments later, and the graph of all of them
does not fit. So the way forward keeps the slots alone, and each segment is run again when the gradient arrives at it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from seefar.evals.protocols import recall
from seefar.evals.recall import cache_after, cost_after, decoder, segments_after
from seefar.evals.remote import backward, copies, gradient_gap, training_cost
from seefar.mixers.segments import Segments
from seefar.mixers.slot_memory import SlotMemory
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.remote import SYMBOLS
from seefar.training.curriculum import Curriculum

CARD = Card(
    number=189,
    title="Memformer: A Memory-Augmented Transformer for Sequence Modeling",
    arxiv="2010.06891",
    code="qywu/memformers",
    published="language and images: about the loss of its baselines with 8.1 times less memory and 3.2 times faster",
    holds_when="Replay in float64 over 16 segments: every gradient is that of the whole graph to 1e-10 of its largest "
    "number. A decoder of four layers and width 64, 8 slots, segments of 64 tokens, 32 of them: learning takes at most "
    "a quarter of the whole graph's peak memory and 1.6 times its processor time, and at most 1.1 times the memory "
    "that 4 segments take. After 8192 tokens the same decoder remembers at most an eighth of the bytes that a cache "
    "of all keys takes, and reads on at least 3.2 times as fast. One layer, width 64, 4 slots, segments of 8 tokens, "
    "trained by replay on texts of up to 8 segments: at least 0.95 of the symbols told in the first segment are given "
    "back in the eighth. 16 segments are measured without a bar; the paper's losses are not shown at any scale",
    control="the same decoder trained alike with gradients of one segment must stay below chance and 10 points; the "
    "whole graph must take more than 1.1 times the memory of 4 segments at 32",
)
REACH = 8
NOTE = (
    "a decoder on one made-up task, not the paper's encoder and decoder on text; torch's own checkpoint around each "
    "segment saves as much memory and is timed beside replay without a bar"
)


def build(model: Any, *, slots: int = 32, segment: int = 64, temperature: float = 0.25, **options: Any) -> Segments:
    """Any decoder of transformers with one set of slots for all its layers, learning by replay.

    Args:
        model: used alone it goes on as it was.
        slots: vectors that are carried.
        segment: tokens of text in one.
        temperature: of writing; below one a slot stays or is replaced.
        options: of ``Segments``: ``truncate`` for shorter gradients, ``replay=False`` for the graph of all segments.
    """
    memory = SlotMemory(model, slots, temperature=temperature)
    return Segments(model, memory, segment=segment, **({"replay": True} | options))


def claim(scale: Scale) -> Verdict:
    """What replay gives and costs, what a long past costs, and what only the full gradient can learn."""
    gap = gradient_gap(_small(), _small(replay=False))
    model, (few, many) = decoder(64, scale.pick(1, 4)), scale.pick((1, 2), (4, 32))
    wide = partial(build, model, slots=8, segment=scale.pick(8, 64))
    ways = {
        "replay": backward(wide()),
        "whole graph": backward(wide(replay=False)),
        "torch's checkpoint": backward(wide(replay=False), checkpointed=True),
    }
    seconds, held = training_cost(ways, [few, many], scale)
    growth = {way: held[way][many].mean / held[way][few].mean for way in ways}
    smaller = held["whole graph"][many].mean / held["replay"][many].mean
    slower = {way: seconds[way][many].mean / seconds["whole graph"][many].mean for way in ways}

    age, segment = scale.pick((2, 8), (128, 64))
    arms = {"slots": segments_after(wide(), at_once=4), "cache": cache_after(model, segment, at_once=4)}
    reading, size = cost_after(arms, [age], scale, repeats=scale.pick(1, 10))
    faster = reading["cache"][age].mean / reading["slots"][age].mean

    lessons = Curriculum(scale.pick([(1, 2)], [(100, 2), (60, 4), (90, REACH)]))
    learn = partial(copies, lessons=lessons, setting=scale, batch=scale.pick(2, 64), tests=scale.pick(8, 500))
    learners = {"replay": learn(_small), "gradients of one segment": learn(partial(_small, replay=False, truncate=1))}
    copied = recall(learners, scale.pick([2, REACH], [2, REACH, 2 * REACH]), scale, name="copied")
    full, short = (copied[name][REACH].mean for name in learners)
    return Verdict(
        figures={
            "gradients apart": gap,
            "seconds of learning, by segments": seconds.to_json(),
            "peak bytes of learning, by segments": held.to_json(),
            "bytes, most segments over fewest": growth,
            "whole graph's bytes over replay's": smaller,
            "seconds over the whole graph's": slower,
            "seconds of 4 segments after 8192 tokens": reading.to_json(),
            "bytes remembered": size,
            "cache's seconds over slots'": faster,
            "share given back, by segments": copied.to_json(),
        },
        checks={
            "replay has the gradient of the whole graph": gap <= 1e-10,
            "a quarter of its memory": smaller >= 4,
            "1.6 times its time": slower["replay"] <= 1.6,
            "memory stays within 1.1": growth["replay"] <= 1.1,
            "an eighth of a cache's bytes": size["cache"][age] >= 8 * size["slots"][age],
            "3.2 times as fast as a cache": faster >= 3.2,
            f"0.95 given back after {REACH} segments": full >= 0.95,
        },
        controls={
            "one segment's gradient stays at chance": short <= 1 / SYMBOLS + 0.1,
            "the whole graph grows": growth["whole graph"] > 1.1,
        },
        note=NOTE,
    )


def _small(**options: Any) -> Segments:
    return build(decoder(64, 1), slots=4, segment=8, **options)
