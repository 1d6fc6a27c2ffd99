"""InAttention: layers look at what tokens were at first, so one vector a token is all that is kept (Eisner 2024).

A decoder keeps keys and values of every token for every layer, since each layer looks at what the layer below made of
the past. Here all layers look at the embeddings: the past is final before the first layer runs, one cache serves every
layer, and of a prompt only the last token passes through them. What is given up: a key can't tell what stood beside its
token, so that a word is not found by the word before it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from seefar.backbones.initial import read_prompt
from seefar.backbones.sequence import SequenceModel
from seefar.evals.extended import Stage, Stages
from seefar.evals.language import generating
from seefar.evals.protocols import cost_sweep, length_sweep
from seefar.evals.recall import cost_after
from seefar.mixers.initial import InitialAttention, initial_column
from seefar.mixers.pattern import MLP, column
from seefar.mixers.softmax import Attention
from seefar.papers._card import Card, Scale, Verdict
from seefar.positions.rope import Rope
from seefar.synthetic.sentences import WORDS_OF_TEXT, texts

CARD = Card(
    number=148,
    title="InAttention: Linear Context Scaling for Transformers",
    arxiv="2410.07063",
    code=None,
    published="far less memory for long contexts than with self-attention; fine-tuning extends the context cheaply",
    holds_when="six layers: the cache has 1/12 of the bytes of keys and values after 1024 tokens. Four layers of width "
    "32 on captions and questions by words, 400 steps of 1024 words: held-out loss at 256 words is at most 3 % above "
    "that of self-attention with as many weights; trained at 64 words and for 40 steps more at 256, a tenth of the "
    "words, it gains at least 80 % of what 400 steps at 256 gain at that length",
    control="each token alone (a window of one) must miss the 3 %; 40 steps more at 64 words must gain less than 80 %",
)
WORDS = len(WORDS_OF_TEXT)


def build(
    dim: int = 576,
    depth: int = 30,
    heads: int = 9,
    *,
    words: int = 49_152,
    kv_heads: int | None = None,
    ratio: float = 4,
    tied: bool = True,
) -> SequenceModel:
    """A small Llama's language model in which all layers look at embeddings; 2/3 ``ratio`` D is the width of an MLP."""
    rope = Rope(dim // heads)
    look = partial(InitialAttention, dim, heads, kv_heads=kv_heads, rope=rope)
    layers = initial_column(f"(A F)*{depth}", dim, A=look, F=partial(MLP, dim, ratio=ratio, gated=True))
    return SequenceModel(layers, dim, words, words=words, tied=tied)


def claim(scale: Scale) -> Verdict:
    """Loss and what a short second stage gains; then the costs. A window of as many bytes reads this text better."""
    dim, depth, steps, long = scale.pick((8, 2, 4, 16), (32, 4, 400, 256), (256, 6, 4000, 1024))
    small = partial(build, dim, depth=depth, heads=2, words=WORDS, ratio=3, tied=False)
    plain = partial(_plain, dim, depth=depth)
    models: dict[str, Callable[..., SequenceModel]] = {
        "initial states": small,
        "self-attention": plain,
        "a window of as many bytes": partial(plain, window=max(1, long // (2 * depth))),
        "token alone": partial(plain, window=1),
    }
    lr, tokens = scale.pick((5e-3, 32), (5e-3, 1024), (1e-3, 32_768))
    teach = partial(Stages, texts=_captions, setting=scale, tokens=tokens)
    first, stages = Stage(steps, long // 4, lr), teach(small)
    more = {"tuned": Stage(steps // 10 or 1, long, lr), "tuned short": Stage(steps // 10 or 1, long // 4, lr)}
    arms = {name: teach(make)(Stage(steps, long, lr)) for name, make in models.items()}
    arms |= {"short": stages(first)} | {name: stages(first, stage) for name, stage in more.items()}
    loss = length_sweep(arms, [long // 4, long], scale, name="loss")
    at = {name: loss[name][long].mean for name in arms}
    ours, bar = at["initial states"], 1.03 * at["self-attention"]
    gained = {name: (at["short"] - at[name]) / (at["short"] - ours) for name in more}
    ages, deep = scale.pick((16, 32), (256, 1024), (1024, 65_536)), scale.pick(2, 6)
    cost = {name: generating(models[name](depth=deep), WORDS) for name in ("initial states", "self-attention")}
    words, held = cost_after(cost, ages, scale, repeats=3)
    share = held["initial states"][ages[-1]] / held["self-attention"][ages[-1]]
    ways = {"last word alone": read_prompt, "all words": SequenceModel.__call__}
    seconds, _ = cost_sweep({way: partial(_prompt, small, read) for way, read in ways.items()}, ages, scale)
    return Verdict(
        figures={
            "nats of a word, by words of a text": loss.to_json(),
            "share of the gain of training at length": gained,
            "weights": [sum(w.numel() for w in make().parameters()) for make in models.values()],
            "bytes of the cache, by words, and as a share": [held, share],
            "seconds of 16 words after others, and of a prompt": [words.to_json(), seconds.to_json()],
        },
        checks={
            "the bytes of one state for keys and values of all layers": abs(share * 2 * deep - 1) < 1e-3,
            "loss at most 3 % above self-attention": ours <= bar,
            "a tenth of the words gains 80 %": gained["tuned"] >= 0.8,
        },
        controls={
            "each token alone: over 3 % above": at["token alone"] > bar,
            "more at the old length: less than 80 %": gained["tuned short"] < 0.8,
        },
        note="captions ask for little that is far: see the window; recall of a word by its neighbour is not tried",
    )


def _plain(dim: int, depth: int, *, window: int | None = None) -> SequenceModel:
    look = partial(Attention, dim, 2, rope=Rope(dim // 2), window=window)
    layers = column(f"(A F)*{depth}", dim, A=look, F=partial(MLP, dim, ratio=3, gated=True))
    return SequenceModel(layers, dim, WORDS, words=WORDS)


def _captions(count: int, length: int, *, held_out: bool, seed: int) -> Tensor:
    return texts(count, length, units=WORDS_OF_TEXT, split="held-out" if held_out else "train", seed=seed)


def _prompt(build: Callable[[], SequenceModel], read: Callable[..., object], length: int) -> Callable[[], object]:
    return partial(read, build().eval(), _captions(1, length, held_out=True, seed=0))
