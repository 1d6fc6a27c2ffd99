"""Laughing Hyena: a model of long convolutions is distilled into a recurrence once trained (Massaroli et al. 2023).

A long filter needs all of the past for each new token. But few of the directions of its Hankel matrix matter, so
a sum of a few damped waves gives nearly the same taps, and such a sum can be run with a handful of numbers for
each channel. Nothing is trained again: the filter itself is what the waves are fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from seefar.backbones.sequence import SequenceModel
from seefar.evals import distillation
from seefar.evals.protocols import cost_sweep, sweep
from seefar.mixers.distill import Method, distill
from seefar.mixers.hyena import Hyena
from seefar.mixers.pattern import column
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.digit_words import PIXELS
from seefar.synthetic.handwriting import LEVELS

CARD = Card(
    number=192,
    title="Laughing Hyena Distillery: Extracting Compact Recurrences From Convolutions",
    arxiv="2310.18780",
    code=None,
    published="distilled Hyenas of up to 1.3 billion parameters write 10 times as fast as Transformers and 1.5 times "
    "as fast as Hyenas, with no loss of quality at 16 states and more",
    holds_when="a Hyena of two layers and width 32, trained on handwritten digits as text of 256 words and then "
    "distilled by the modal fit: held-out perplexity rises by at most 1 % at order 16 (real numbers a channel); the "
    "mean error of its logits falls with each doubling of the order from 2 to 32. Untrained models of two layers and "
    "width 64, 16 streams after 4096 tokens: the distilled one writes 5 times as many tokens a second as with cached "
    "convolutions, 3 times as many as attention with cached keys; its bytes held do not grow with the context",
    control="filters cut after 16 taps, which hold as many numbers, must lose more than 1 %; so must order 2; writing "
    "with cached convolutions must grow with the context: twice the time at least from 512 to 4096 tokens",
)
METHODS: tuple[Method, ...] = ("modal", "balanced", "hankel", "prony")


def build(
    pattern: str = "(Y F)*2", dim: int = 32, *, words: int = LEVELS, heads: int | None = None, length: int = 256
) -> SequenceModel:
    """A language model of Hyena layers Y and MLPs F; ``mixers.distill(model, order)`` gives its recurrent twin.

    Args:
        pattern: its layers.
        dim: D.
        words: of the vocabulary.
        heads: long filters of a layer, MultiHyena if fewer than D.
        length: that the filters are laid out for.
    """
    return SequenceModel(
        column(pattern, dim, Y=lambda: Hyena(dim, heads=heads, length=length)), dim, words, words=words
    )


def claim(scale: Scale) -> Verdict:
    """What is lost by order, and what is won by context."""
    pictures, orders = scale.pick((1, (2, 16)), (4, (2, 4, 8, 16, 32)))
    small = partial(build, dim=scale.pick(2, 32), length=PIXELS * pictures)
    trained = distillation.taught(small, scale, steps=scale.pick(2, 300), pictures=pictures)
    makers: dict[str, distillation.Shorten] = {m: partial(distill, method=m) for m in scale.pick(METHODS[:1], METHODS)}
    makers["cut"] = distillation.cut
    arms = {name: distillation.perplexity_change(trained, make, pictures=pictures) for name, make in makers.items()}
    lost = sweep("perplexity", arms, orders, scale)
    plain = sweep("before", {"hyena": distillation.perplexity(trained, pictures=pictures)}, ["perplexity"], scale)
    off = sweep(
        "logits", {"modal": distillation.logit_error(trained, makers["modal"], pictures=pictures)}, orders, scale
    )
    falling = [figure.mean for figure in off["modal"].values()]

    dim, lengths, tokens, batch = scale.pick((4, (16, 32), 2, 2), (64, (512, 4096), 32, 16))
    wide = partial(build, dim=dim, length=scale.pick(64, 512))
    models: dict[str, Callable[[], SequenceModel]] = {
        "distilled": lambda: distill(wide(), 16, method="hankel"),
        "cached convolution": wide,
        "cached keys": lambda: SequenceModel(
            column("(A F)*2", dim, A=lambda: Attention(dim, 4)), dim, LEVELS, words=LEVELS
        ),
    }
    calls = {name: distillation.writing(make, batch=batch, tokens=tokens) for name, make in models.items()}
    time, held = cost_sweep(calls, lengths, scale, repeats=scale.pick(1, 3), name="writing")
    whole = partial(distillation.writing, batch=batch, tokens=8 * tokens, prompt=True)
    calls = {name: whole(make) for name, make in models.items()}
    both, _ = cost_sweep(calls, lengths[-1:], scale, repeats=1, name="reading and writing")
    long = {name: time[name][lengths[-1]].mean for name in models}
    faster = {name: long[name] / long["distilled"] for name in models}
    growth = {name: long[name] / time[name][lengths[0]].mean for name in models}
    bytes_ = [held["distilled"][n].mean for n in lengths]
    return Verdict(
        figures={
            "perplexity before": plain.to_json(),
            "share by which perplexity rises, by order": lost.to_json(),
            "error of the logits, by order": off.to_json(),
            f"seconds of {tokens} tokens, by context": time.to_json(),
            f"seconds of reading the context and writing {8 * tokens}": both.to_json(),
            "tokens a second at the longest context": {name: batch * tokens / s for name, s in long.items()},
            "times as fast as": faster,
            "times as slow at the longest context as at the shortest": growth,
            "bytes at most, by context": held.to_json(),
        },
        checks={
            "order 16 raises perplexity by at most 1 %": lost["modal"][16].mean <= 0.01,
            "logits come nearer with each doubling": falling == sorted(falling, reverse=True),
            "5 times as fast as cached convolutions": faster["cached convolution"] >= 5,
            "3 times as fast as cached keys": faster["cached keys"] >= 3,
            "bytes do not grow with the context": max(bytes_) <= 1.01 * min(bytes_),
        },
        controls={
            "16 taps lose more than 1 %": lost["cut"][16].mean > 0.01,
            "order 2 loses more than 1 %": lost["modal"][2].mean > 0.01,
            "cached convolutions slow down": growth["cached convolution"] >= 2,
        },
        note="caches are extended by copying, for convolutions and keys alike; associative recall by heads is left out",
    )
