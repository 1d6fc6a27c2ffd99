"""AKS: frames that matter to the question, without losing the rest of the film (Tang et al. 2025).

A model that reads M frames of a long film has to be told which. The best M by relevance may all show one moment; evenly
spaced ones may show none. AKS halves the film again and again, and leaves a part whole only where its best frames stand
out from it; each part then gives its best frames, as many as its share of the budget. Nothing is trained, and the
model that answers does not know of it.
"""

from __future__ import annotations

from functools import cache

from seefar.compress.base import Compressor
from seefar.compress.bins import AdaptiveBins
from seefar.compress.relevance import Relevance
from seefar.compress.select import TopK, Uniform
from seefar.evals.evidence import Choice, selection, visit_films
from seefar.papers._card import Card, Scale, Verdict

CARD = Card(
    number=130,
    title="Adaptive Keyframe Sampling for Long Video Understanding",
    arxiv="2502.21271",
    code="ncTimTang/AKS",
    published=(
        "LLaVA-Video-7B, 64 frames, uniform to AKS: LongVideoBench 58.9 to 62.7, Video-MME 64.4 to 65.3; the best "
        "frames alone (top-k) 62.4 and 63.7"
    ),
    holds_when=(
        "films of ten minutes at one frame a second, drawn with their truth and scored by the shipped dual encoder's "
        "raw dot product; 'how often does X come?' counts as answered where every stay of X has a kept frame; 8 and "
        "16 frames kept; one stay (single) and two to eight (multi). The mean over both sets and budgets is at least "
        "0.05 above that of the better of uniform and top-k; and on the set where uniform, or top-k, is best, it is at "
        "most 0.03 below"
    ),
    control="the same bins, given the scores of another question, must miss the lead of 0.05",
)
VISITS = (1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8)
SETS = {"single": range(1, 2), "multi": range(2, 9)}
TOKENS = 28
"""Of one frame, as the shipped eyes see it."""


def build(relevance: Relevance, *, t1: float = 0.8, depth: int = 5) -> Compressor:
    """The selector, with the published settings; ``seefar.wrap(model, compress=build(Cosine()))`` answers through it.

    Args:
        relevance: scores tokens against the question, such as ``Cosine()`` in the space of a dual encoder.
        t1: how far the best frames of a part must stand out for it to stay whole.
        depth: most halvings.
    """
    return AdaptiveBins(relevance, t1=t1, depth=depth)


def _match(relevance: Relevance) -> Relevance:
    """As probabilities, the scores that a match head gives."""
    return lambda seq, query: relevance(seq, query).double().sigmoid()


def claim(scale: Scale) -> Verdict:
    """Equal frames for every arm; who answers is an oracle that misses only what was not kept."""
    count, seconds, visits = scale.pick((1, 60.0, (1, 2)), (12, 600.0, VISITS), (40, 600.0, VISITS))
    films = cache(lambda seed: visit_films(seed, count, seconds, visits))
    budgets = [frames * TOKENS for frames in scale.pick((2,), (8, 16))]

    def rivals(noise: float = 0.0) -> dict[str, Choice]:
        return {
            "uniform": Choice(lambda relevance: Uniform(), noise=noise),
            "top-k": Choice(lambda relevance: TopK(relevance, unit="frame"), noise=noise),
            "aks": Choice(build, noise=noise),
        }

    more = {
        "aks, never whole": Choice(lambda relevance: build(relevance, t1=1.0)),
        "aks, match scores": Choice(lambda relevance: build(_match(relevance))),
        "aks, another question": Choice(build, astray=1),
    }
    sets = selection(rivals() | more, films, SETS, budgets, scale)
    noisy = {
        f"{name}, noise of {level} logits": curves.to_json()
        for level in scale.pick((4,), (4, 8))
        for name, curves in selection(rivals(level), films, SETS, budgets, scale, name=f"noise {level}").items()
    }
    mean = {arm: sum(curves.mean(arm) for curves in sets.values()) / len(sets) for arm in sets["single"]}
    bar = max(mean["uniform"], mean["top-k"]) + 0.05
    short = {  # on the set where the other arm is best
        arm: max((curves.mean(arm), curves.mean(arm) - curves.mean("aks")) for curves in sets.values())[1]
        for arm in ("uniform", "top-k")
    }
    return Verdict(
        {name: curves.to_json() for name, curves in sets.items()} | noisy | {"mean of both sets": mean},
        {"0.05 above the better of uniform and top-k": mean["aks"] >= bar}
        | {f"at most 0.03 below {arm} on its best set": value <= 0.03 for arm, value in short.items()},
        {"bins by another question's scores": mean["aks, another question"] < bar},
        note=(
            "No reader is in this: an answer counts where its frames were kept. 'Never whole' has the stop test off; "
            "'match scores' are the same scores through a sigmoid; noise has no bar. Where scores are clean enough, "
            "the stop test leaves the whole film one part and the choice is that of top-k"
        ),
    )
