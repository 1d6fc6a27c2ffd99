"""Unlimiformer: a trained encoder-decoder reads any length, each head looking up what it wants (Bertsch et al. 2023).

Encode the long text in windows and keep every state. A head of the decoder never needs more than its best few of them,
and which these are is a search by inner product: q . (W_k h) = (W_k^T q) . h, so that one index of bare states serves
all heads of all layers. No weight is new.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, partial
from typing import TYPE_CHECKING

from seefar.evals import long_summary
from seefar.evals.protocols import cost_sweep, length_sweep
from seefar.memory.inverted import Inverted
from seefar.memory.unlimiformer import Unlimiformer
from seefar.memory.vector_index import VectorIndex
from seefar.papers._card import Card, Scale, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD = Card(
    number=170,
    title="Unlimiformer: Long-Range Transformers with Unlimited Length Input",
    arxiv="2305.01625",
    code="abertsch72/unlimiformer",
    published="books of up to 500K tokens (BookSum, 350K) summed up without truncation; a BART that was trained as "
    "ever gains when it is given all of a text at test time, with no weight added",
    holds_when="a BART of transformers (2 + 2 layers, D 64) learns, in 250 steps, to sum up texts of at most 64 words: "
    "the word of each of 6 topics, in order, among words that say nothing. With 64 states looked up by a head and no "
    "weight changed, on texts of 4096, 16384 and 65536 words with the topics spread over them: its share of summaries "
    "exact to the word is at least 0.8 of that on texts of 64; peak memory grows by 4 D bytes a word within 10 %; of "
    "350000 states, lists find at least 0.95 of the best 64 in at most an eighth of the time of looking at all",
    control="the model itself, which reads the first 64 words, must stay at 0.2 or below on all longer texts",
)


def build(
    model: PreTrainedModel,
    *,
    k: int | None = None,
    window: int | None = None,
    overlap: float = 0.5,
    layers: Collection[int] | None = None,
    inverted: Inverted | None = None,
) -> Unlimiformer:
    """Give a trained BART or T5 of transformers texts of any length.

    Args:
        model: the encoder-decoder.
        k: states that a head looks at; ``window`` when left out.
        window: tokens that the encoder reads at once; what its configuration says when left out.
        overlap: share of a window that its neighbours read too.
        layers: of the decoder that look up; all of them when left out.
        inverted: lists to search in, for texts from some 100000 tokens on; None looks at all states.
    """
    index = partial(VectorIndex, inverted=inverted)
    return Unlimiformer(model, k=k, window=window, overlap=overlap, layers=layers, index=index)


def claim(scale: Scale) -> Verdict:
    """Exact summaries by length, then bytes of a word, then what lists find and save."""
    window, topics, dim = scale.pick((8, 2, 8), (64, 6, 64), (256, 8, 128))
    steps = scale.pick(2, 250, 1000)
    model_of = long_summary.summariser(window, topics, scale, steps=steps, dim=dim)
    tests = scale.pick(2, 8, 32)
    readers: dict[str, long_summary.Reader] = {
        "Unlimiformer": lambda model: build(model).generate,
        "all states": lambda model: build(model, k=10**9).generate,
        "truncated": long_summary.truncated(window),
    }
    longer = scale.pick([16, 32], [4096, 16_384, 65_536], [4096, 65_536, 350_000])
    arms = {name: long_summary.exact(model_of, read, topics, tests=tests) for name, read in readers.items()}
    said = length_sweep(arms, [window, *longer], scale, name="summaries")
    ours, cut = ([said[name][n].mean for n in longer] for name in ("Unlimiformer", "truncated"))

    short, seed = said["Unlimiformer"][window].mean, scale.seeds[0]
    ends = scale.pick((16, 160), (4096, 16_384))
    grows = long_summary.bytes_per_token(lambda: build(model_of(seed)).generate, topics, ends)

    count = scale.pick(200, 350_000)
    lists = Inverted(count // 128, min(32, count // 128))
    of = cache(lambda inverted: long_summary.index_of(model_of(seed), count, topics, k=window, inverted=inverted))
    ways = {"looking at all": None, "lists": lists}
    look = {name: long_summary.searches(of(inverted), window) for name, inverted in ways.items()}
    seconds, _ = cost_sweep({name: long_summary.ready(call) for name, call in look.items()}, [count], scale)
    best = long_summary.found_share(look["lists"](), look["looking at all"]())
    faster = seconds["looking at all"][count].mean / seconds["lists"][count].mean
    return Verdict(
        figures={
            "share of summaries exact to the word, by words of the text": said.to_json(),
            "bytes by which the peak grows with a word": round(grows, 2),
            "bytes of a state": 4 * dim,
            "share of the best states that lists find": best,
            "times as fast as looking at all": faster,
            "seconds of all searches of a summary": seconds.to_json(),
        },
        checks={
            "0.8 of the share on short texts, at every length": min(ours) >= 0.8 * short > 0,
            "a word costs the bytes of a state within 10 %": abs(grows - 4 * dim) <= 0.4 * dim,
            "lists find 0.95 of the best": best >= 0.95,
            "lists take an eighth of the time": faster >= 8,
        },
        controls={"the model itself: at most 0.2 at every longer length": max(cut) <= 0.2},
        note="words that say what they are, no language; training with retrieval is not part of it",
    )
