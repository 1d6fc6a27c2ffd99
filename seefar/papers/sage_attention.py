"""SageAttention: a trained model's attention with 8-bit products, after what all keys share is taken off (Zhang 2024).

Products of 8-bit whole numbers are several times as fast as those of floats. Rounding hurts because keys have channels
far away from zero, by which all are scaled; but they are alike in all tokens, and a softmax does not see what all keys
share. Less their mean, keys bear rounding well. Weights and values are rounded more finely, or not, layer by layer, as
a look at a few inputs tells.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals import swapped_attention
from seefar.evals.attention_schedule import passes
from seefar.evals.counted import timed
from seefar.evals.long_attention import Attend
from seefar.evals.protocols import Curves, sweep
from seefar.evals.quantized_attention import Inputs, calibrated, nearness
from seefar.evals.recall import cost_after
from seefar.hf.sage import Sage
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.wide_needle import VOCABULARY, wide_needles

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD = Card(
    number=114,
    title="SageAttention: Accurate 8-Bit Attention for Plug-and-play Inference Acceleration",
    arxiv="2410.02367",
    code="thu-ml/SageAttention",
    published="about 2.1 times the operations a second of FlashAttention-2 and 2.7 times those of xformers, almost "
    "without loss in language, image and video models",
    holds_when="2 heads of 64, forward, 4096 and 8192 tokens, one core: 8-bit products of queries and keys, rounding "
    "included, at least 1.5 times as fast as PyTorch's fused kernel in float32, by processor seconds. One head, 4096 "
    "tokens: the cosine to float64 is at least 0.999 and the relative L1 at most 0.03 for normal keys, keys with a "
    "shared offset 30 times their size, and keys with two outlying channels; with the offset the error is at most a "
    "tenth of that without smoothing. A small Llama of transformers that finds digits said over and over in texts of "
    "256 units, with every product rounded, its layers calibrated at a cosine of 0.998: the share found by 400 texts a "
    "seed changes by at most 0.3 points. Speed on an H200 is left out at this scale",
    control="without smoothing, keys with a shared offset must miss the cosine of 0.999",
)
WIDTHS = (4, 16)


def build(*, smooth: bool = True, least: int = 32) -> Sage:
    """The attention for ``seefar.hf.use_attention``; ``seefar.hf.calibrate`` fits its layers to a model."""
    return Sage(smooth=smooth, least=least)


def claim(scale: Scale) -> Verdict:
    """Nearness on drawn inputs, seconds beside PyTorch's kernel, and what a trained model still finds."""
    few, many = scale.pick((32, 64), (1024, 4096))
    points: list[tuple[Inputs, int]] = [("normal", few), ("normal", many)]
    points += [("shared offset", many), ("outlying channels", many)]
    ways: dict[str, Attend] = {
        "8-bit queries and keys": partial(build(), causal=False),
        "all 8-bit": partial(Sage(kind="all"), causal=False),
        "without smoothing": partial(build(smooth=False), causal=False),
    }
    near = sweep("cosine", {name: nearness(way, "cosine") for name, way in ways.items()}, points, scale)
    off = sweep("error", {name: nearness(way, "relative L1") for name, way in ways.items()}, points, scale)
    ours, rough = "8-bit queries and keys", "without smoothing"
    lengths = scale.pick([32, 64], [4096, 8192])
    racers = {"PyTorch": scaled_dot_product_attention} | {name: ways[name] for name in list(ways)[:2]}
    calls = timed(passes(racers, heads=scale.pick(1, 2), width=64, backward=False))
    seconds, _ = cost_after(calls, lengths, scale, repeats=scale.pick(1, 7))
    faster = {way: {str(n): seconds["PyTorch"][n].mean / row[n].mean for n in lengths} for way, row in seconds.items()}
    found, kinds = _found(scale)
    change = {name: max(abs(row[w].mean - found["itself"][w].mean) for w in WIDTHS) for name, row in found.items()}
    at = ("shared offset", many)
    return Verdict(
        figures={
            "cosine to float64, by inputs and tokens": near.to_json(),
            "relative L1 to float64, by inputs and tokens": off.to_json(),
            "seconds of the processor, by tokens": seconds.to_json(),
            "times as fast as PyTorch's float32, by tokens": faster,
            "share of needles found, by units of the needle": found.to_json(),
            "largest change of the share found": change,
            "kinds that calibration chose, by seed": kinds,
        },
        checks={
            "1.5 times as fast as PyTorch's float32": min(faster[ours].values()) >= 1.5,
            "cosine at least 0.999": all(near[ours][point].mean >= 0.999 for point in points[1:]),
            "relative L1 at most 0.03": all(off[ours][point].mean <= 0.03 for point in points[1:]),
            "smoothing takes off nine tenths of the error": off[ours][at].mean <= off[rough][at].mean / 10,
            "calibrated: at most 0.3 points found more or fewer": change["calibrated"] <= 0.003,
        },
        controls={"without smoothing: a shared offset below 0.999": near[rough][at].mean < 0.999},
        note="8-bit numbers lie in lanes of 16 bits here, two products an instruction, about twice the rate of float32",
    )


def _found(scale: Scale) -> tuple[Curves, dict[str, Any]]:
    length, dim, batch, steps, count = scale.pick((48, 8, 2, 2, 2), (256, 32, 8, 250, 400))

    @cache
    def model_of(seed: int) -> PreTrainedModel:
        def batches(step: int) -> Tensor:
            return wide_needles(batch, length, seed=10_000 * (seed + 1) + step)

        return swapped_attention.trained_decoder(batches, seed, scale, words=VOCABULARY, dim=dim, steps=steps)

    def texts(seed: int, width: int) -> Tensor:
        return wide_needles(count, length, width=width, last=length // 5, seed=1_000_000 + seed)

    chosen, kinds = calibrated(model_of, texts, bar=0.998, point=WIDTHS[-1])
    find = partial(swapped_attention.found_while_decoding, model_of, texts=texts)
    arms = {"itself": find(None), "calibrated": chosen, "all 8-bit": find(lambda: Sage(kind="all", least=1))}
    found = sweep("needles", arms, list(WIDTHS), scale)
    return found, {str(seed): {str(n): kind for n, kind in kinds(seed).kinds.items()} for seed in scale.seeds}
