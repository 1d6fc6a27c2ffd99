"""HiP attention: a tree search finds the keys that matter, without training or looking at all (Lee et al. 2024).

Tokens near each other tend to be liked alike, so one key can speak for its neighbours. Cut the past into as many groups
as may be kept, halve each, keep the best halves, and so on down to single blocks: log2 rounds of few scores. A trained
model attends to what is left, the last tokens and the first ones. What stands out alone, without its neighbours, is
missed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals import swapped_attention
from seefar.evals.protocols import ablation, cost_sweep, sweep
from seefar.hf.hip import HiP
from seefar.ops.attention import attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.wide_needle import VOCABULARY, wide_needles

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD = Card(
    number=103,
    title="A Training-free Sub-quadratic Cost Transformer Model Serving Framework With Hierarchically Pruned Attention",
    arxiv="2406.09827",
    code="DeepAuto-AI/hip-attention",
    published="Llama 3.1 8B: decoding end to end up to 6.83 times as fast at 128K tokens, with little loss on "
    "passkeys, PG19 and LongBench",
    holds_when="a small Llama of transformers, trained on texts of 256 units (letters by a rule of chance; a digit "
    "said over and over in 2 to 16 units, asked for at the end), then its attention swapped in each layer through its "
    "public interface, for 32 keys that HiP finds in blocks of 8 queries by 2 keys, the last 16 and the first 2. The "
    "model itself decodes at least 90 % of needles of 16 units; with HiP at most 2 points fewer, and its perplexity "
    "is at most 2 % higher. With 512 keys, window 256, one search for 8 tokens: attention of 8 new tokens behind "
    "65536 keys, 8 heads of 64, in at most a fifth of the seconds of PyTorch's fused kernel over all keys. Prefill on "
    "a GPU is left out at this scale",
    control="a window of as many keys, 50, in which no needle stands: it must find at most 20 % of them",
)
WIDTHS = (2, 4, 8, 16)


def build(keep: int = 512, *, block: tuple[int, int] = (32, 2), window: int = 256, sinks: int = 4) -> HiP:
    """The attention for ``seefar.hf.use_attention``; one search serves 8 tokens."""
    return HiP(keep=keep, block=block, window=window, sinks=sinks)


def claim(scale: Scale) -> Verdict:
    """Needles and perplexity of one model with three attentions, then the seconds of new tokens behind long caches."""
    length, keep, window = scale.pick((64, 8, 8), (256, 32, 16))
    arms = {
        "itself": None,
        "HiP": partial(build, keep, block=(8, 2), window=window, sinks=2),
        "window": lambda: partial(attention, window=keep + window + 2),
    }
    model_of = cache(partial(_trained, scale, length))
    count = scale.pick(2, 100)
    texts = partial(_texts, count, length, keep + window + 2)
    find = {name: swapped_attention.found_while_decoding(model_of, make, texts) for name, make in arms.items()}
    read = {
        name: swapped_attention.perplexity(model_of, make, partial(texts, width=None)) for name, make in arms.items()
    }
    found = sweep("needles", find, list(WIDTHS), scale)
    surprise = ablation(read, scale, name="perplexity")
    lengths = scale.pick([64, 128], [4096, 16384, 65536])
    seconds, _ = cost_sweep(_decoding(scale), lengths, scale, repeats=scale.pick(1, 5))
    faster = {arm: seconds["dense"][lengths[-1]].mean / row[lengths[-1]].mean for arm, row in seconds.items()}
    wide = {arm: row[WIDTHS[-1]].mean for arm, row in found.items()}
    nats = {arm: row["score"].mean for arm, row in surprise.items()}
    return Verdict(
        figures={
            "share of needles found, by units of the needle": found.to_json(),
            "perplexity": surprise.to_json(),
            "seconds of 8 tokens, by keys": seconds.to_json(),
            "times as fast as dense, most keys": faster,
            "exponent of seconds": {arm: round(seconds.slope(arm), 3) for arm in seconds},
        },
        checks={
            "the model finds 90 % of needles of 16 units": wide["itself"] >= 0.9,
            "HiP: at most 2 points fewer": wide["HiP"] >= wide["itself"] - 0.02,
            "HiP: perplexity at most 2 % higher": nats["HiP"] <= 1.02 * nats["itself"],
            "a fifth of the seconds of dense": faster["HiP, one search for 8 tokens"] >= 5,
        },
        controls={"window: at most 20 % of needles of 16 units": wide["window"] <= 0.2},
        note="narrower needles show the limit: where no group begins in one, the search does not look; the authors "
        "leave the first 3 layers of 32 dense, here there are 2 and none is",
    )


def _trained(scale: Scale, length: int, seed: int) -> PreTrainedModel:
    dim, batch, steps = scale.pick((8, 2, 2), (32, 8, 250))

    def texts(step: int) -> Tensor:
        return wide_needles(batch, length, seed=10_000 * (seed + 1) + step)

    return swapped_attention.trained_decoder(texts, seed, scale, words=VOCABULARY, dim=dim, steps=steps)


def _texts(count: int, length: int, last: int, seed: int, width: int | None) -> Tensor:
    return wide_needles(count, length, width=width, last=last, seed=1_000_000 + seed)


def _decoding(scale: Scale) -> dict[str, Callable[[int], Callable[[], object]]]:
    keep, window = scale.pick((8, 8), (512, 256))
    once, each = (partial(HiP, keep=keep, window=window, refresh=refresh) for refresh in (8, 1))
    arms: dict[str, Callable[[], swapped_attention.Attend]] = {
        "dense": lambda: scaled_dot_product_attention,
        "HiP, one search for 8 tokens": once,
        "HiP, a search for each": each,
    }
    heads, width = scale.pick((1, 8), (8, 64))
    return {name: swapped_attention.decoding(make, heads=heads, width=width) for name, make in arms.items()}
