"""AIM: merge film tokens that look alike before the language model, then drop them layer by layer inside it (2024).

Most of what a frame says it says several times, and most of what is left is read in the first half of the layers. So
each frame's tokens are joined by twos, twice, to a quarter; and from the middle of the language model on, the tokens
that others attend to least, directly and through others, are left behind, until only words remain. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seefar.compress.base import Compressor
from seefar.compress.merge import Bipartite, SimilarityMerge
from seefar.evals.cost import QWEN2_7B
from seefar.evals.protocols import cost_sweep
from seefar.papers._card import Card, Scale, Verdict
from seefar.sequence import VisualSequence
from seefar.vlm.layer_plan import LayerPlan, kept_counts, linear_rho
from seefar.vlm.untrained import between_words, untrained_onevision

CARD = Card(
    number=92,
    title="AIM: Adaptive Inference of Multi-Modal LLMs via Token Merging and Pruning",
    arxiv="2412.03248",
    code="LaVi-Lab/AIM",
    published="LLaVA-OneVision-7B, 32 frames of 196 tokens: prefill of 99.6 TFLOPs becomes 14.8, with little loss; "
    "+4.6 on MLVU at equal compute",
    holds_when="arithmetic of the 7B shape with 0, 50 and 100 text tokens: both figures within 6 % of the published "
    "ones, their ratio in [6.3, 7.2]. Measured on an untrained LLaVA-OneVision of 28 small layers: a plan that keeps "
    "all gives the model's own logits, the cache of each layer holds what the schedule says, text logits equal those "
    "of masking to 1e-5; at the most frames prefill takes at most 0.85 times the seconds of merging alone and at most "
    "a third of those of the whole film",
    control="the same drops hidden behind the mask, nothing shortened, must take more than 0.95 times the seconds of "
    "merging alone",
)
SIDE, WORDS = 14, 16
"""Rows and columns of tokens in a frame; text tokens on either side of the film."""
RHO = linear_rho(28, 14, 21)


def build() -> Compressor:
    """Each frame's tokens to an equal share of the budget, by plain means; 49 of 196 were published.

    Give it to ``seefar.wrap`` as ``compress``; ``prune`` is the other half.
    """
    return SimilarityMerge(Bipartite(), weight="mean", scope="frame")


def prune(layers: nn.ModuleList, slots: Tensor, *, first: int = 14, last: int = 21, shorten: bool = True) -> LayerPlan:
    """Open it around ``generate``: film tokens fall away from layer ``first`` to ``last``, by PageRank."""
    return LayerPlan(layers, slots, linear_rho(len(layers), first, last), shorten=shorten)


def _film(frames: int, width: int) -> VisualSequence:
    """Noise on a picture of a few shades that changes slowly, so that some tokens resemble each other."""
    random = torch.Generator().manual_seed(0)
    shades = torch.randn(8, width, generator=random)
    which = torch.randint(8, (1, -(-frames // 4), SIDE, SIDE), generator=random).repeat_interleave(4, 1)[:, :frames]
    tokens = shades[which] + 0.5 * torch.randn(*which.shape, width, generator=random)
    return VisualSequence.of_grid(tokens, torch.arange(frames))


@torch.no_grad()
def _prefill(model: Any, film: VisualSequence, arm: str, keep: int = 1) -> Any:
    """The model's output for a film between words; its last ``keep`` logits, 0 for all."""
    given, slots = between_words(model, film if arm == "whole" else build()(film, len(film) // 4), WORDS, WORDS)
    layers = model.base_model.language_model.layers
    plans: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "aim": lambda: prune(layers, slots),
        "masked": lambda: prune(layers, slots, shorten=False),
        "all kept": lambda: LayerPlan(layers, slots, (1.0,) * len(layers)),
    }
    with plans.get(arm, nullcontext)():
        return model(**given, logits_to_keep=keep, use_cache=True)


def claim(scale: Scale) -> Verdict:
    """The published arithmetic, what a small model really computes, and the seconds that it takes."""
    frames, width = scale.pick(((1,), 16), ((2, 4, 8), 128))
    whole = {text: QWEN2_7B.flops([32 * 196 + text] * 28) / 1e12 for text in (0, 50, 100)}
    aim = {text: QWEN2_7B.flops(kept_counts(32 * 49, text, RHO)) / 1e12 for text in whole}
    exact, film = untrained_onevision(width).double(), _film(frames[0], width).map(Tensor.double)
    out = {arm: _prefill(exact, film, arm, 0) for arm in ("merged", "all kept", "aim", "masked")}
    held = [layer.keys.shape[2] for layer in out["aim"].past_key_values.layers]
    words = {arm: torch.cat([o.logits[0, :WORDS], o.logits[0, -WORDS:]]) for arm, o in out.items()}
    off = {other: float((words["aim"] - words[other]).abs().max()) for other in ("masked", "merged")}
    model, films = untrained_onevision(width), {n: _film(n, width) for n in frames}
    arms = {a: lambda n, a=a: partial(_prefill, model, films[n], a) for a in ("whole", "merged", "aim", "masked")}
    seconds, bytes_ = cost_sweep(arms, frames, scale, repeats=scale.pick(1, 5))
    last = {arm: row[frames[-1]].mean for arm, row in seconds.items()}
    return Verdict(
        {
            "TFLOPs of the 7B, whole": whole,
            "TFLOPs of the 7B, aim": aim,
            "tokens in each layer's cache": held,
            "logits of aim, largest difference": off,
            "seconds": seconds.to_json(),
            "bytes": bytes_.to_json(),
            "seconds at the end, over merging alone": {arm: value / last["merged"] for arm, value in last.items()},
        },
        {
            "6 % of the published TFLOPs": max(abs(w / 99.6 - 1) for w in whole.values()) <= 0.06
            and max(abs(a / 14.8 - 1) for a in aim.values()) <= 0.06,
            "ratio of TFLOPs": all(6.3 <= whole[text] / aim[text] <= 7.2 for text in whole),
            "keeping all changes nothing": torch.equal(out["all kept"].logits, out["merged"].logits),
            "layers hold what the schedule says": held == kept_counts(len(film) // 4, 2 * WORDS, RHO),
            "as masking, and not as the model": off["masked"] <= 1e-5 < off["merged"],
            "pruning saves seconds": last["aim"] <= 0.85 * last["merged"],
            "a third of the seconds of the whole": last["aim"] <= last["whole"] / 3,
        },
        {"masking without shortening": last["masked"] > 0.95 * last["merged"]},
        note="The model is untrained: that answers stay right is not shown, nor that PageRank drops the right tokens. "
        "All arms write their attention weights out, as pruning needs them; a fused kernel would shrink the gap",
    )
