"""A small encoder-decoder that learnt to sum up short texts, given texts far longer: what it says, holds and looks at.

N tokens of a text, D width of a state, k states that a head looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting, peak_bytes
from seefar.memory.inverted import Inverted
from seefar.memory.unlimiformer import Unlimiformer
from seefar.memory.vector_index import VectorIndex
from seefar.synthetic.keywords import END, PAD, START, keyword_summary, vocabulary
from seefar.training.fit import fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Summariser = Callable[[int], "PreTrainedModel"]
"""Seed -> the model trained with it, the same one each time."""
Reader = Callable[["PreTrainedModel"], Callable[..., Tensor]]
"""Model -> its ``generate``, or one that is given more of a text."""


def summariser(
    window: int, topics: int, setting: Setting, *, steps: int, dim: int = 64, batch: int = 32, lr: float = 3e-3
) -> Summariser:
    """A BART of transformers with 2 + 2 layers, trained on keyword summaries of texts up to its window.

    Args:
        window: tokens that its encoder reads; every other step has texts as long, the others are shorter.
        topics: of a text.
        setting: the scale.
        steps: of training.
        dim: D.
        batch: texts of a step.
        lr: the highest learning rate.
    """

    @cache
    def model_of(seed: int) -> PreTrainedModel:
        from transformers import BartConfig, BartForConditionalGeneration

        torch.manual_seed(seed)
        config = BartConfig(
            vocab_size=vocabulary(topics),
            d_model=dim,
            max_position_embeddings=window,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=2 * dim,
            decoder_ffn_dim=2 * dim,
            dropout=0.0,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
            decoder_start_token_id=START,
            forced_eos_token_id=None,
        )
        model = BartForConditionalGeneration(config)

        def texts(step: int) -> tuple[Tensor, Tensor]:
            draw = torch.Generator().manual_seed(step)
            short = int(torch.randint(topics, window + 1, (), generator=draw))
            return keyword_summary(batch, short if step % 2 else window, topics, seed=_base(seed) + 1 + step)

        def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            return net(input_ids=data[0], labels=data[1]).loss, {}

        fit(model, texts, loss, steps=steps, lr=lr, progress=setting.progress)
        return model

    return model_of


def exact(model_of: Summariser, read: Reader, topics: int, *, tests: int, at_once: int = 2**16) -> Arm:
    """Share of held-out texts whose summary comes out word for word, by their length."""

    def prepared(seed: int) -> Measure:
        say = read(model_of(seed))

        @torch.inference_mode()
        def share(length: int) -> float:
            ids, summary = keyword_summary(tests, length, topics, seed=_base(seed))
            step = max(1, at_once // length)
            right = [
                _said(say(some, max_new_tokens=topics + 1), want)
                for some, want in zip(ids.split(step), summary.split(step), strict=True)
            ]
            return float(torch.cat(right).double().mean())

        return share

    return prepared


def truncated(window: int) -> Reader:
    """Reads the beginning and no more, as the model alone does."""
    return lambda model: lambda ids, **how: model.generate(ids[:, :window], **how)  # type: ignore[operator]


def bytes_per_token(read: Callable[[], Callable[..., Tensor]], topics: int, lengths: tuple[int, int]) -> float:
    """By how many bytes the peak of reading one text and summing it up grows with each token between two lengths."""
    say, peaks = read(), []
    for length in lengths:
        ids, _ = keyword_summary(1, length, topics, seed=0)
        peaks.append(peak_bytes(lambda ids=ids: torch.inference_mode()(say)(ids, max_new_tokens=2)))  # type: ignore[misc]
    return (peaks[1] - peaks[0]) / (lengths[1] - lengths[0])


class Asked(VectorIndex):
    """An index that remembers what it was asked."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked: list[Tensor] = []

    def search(self, queries: Any, k: int) -> Any:
        self.asked.append(queries)
        return super().search(queries, k)


def index_of(model: PreTrainedModel, length: int, topics: int, *, k: int, inverted: Inverted | None = None) -> Asked:
    """The index of one long text, with what the heads asked it while the model summed it up."""
    reader = Unlimiformer(model, k=k, index=Asked)
    ids, _ = keyword_summary(1, length, topics, seed=0)
    with torch.inference_mode():
        reader.generate(ids, max_new_tokens=topics + 1)
        (index,) = reader.read
        assert isinstance(index, Asked)
        index.inverted = inverted
        index.build()
    return index


def searches(index: Asked, k: int) -> Callable[[], list[Any]]:
    """All that was asked, once more."""
    return lambda: [VectorIndex.search(index, queries, k) for queries in index.asked]


def ready(call: Callable[[], Any]) -> Callable[[int], Callable[[], Any]]:
    """For ``cost_sweep``: a call whose length is what it is."""
    return lambda _: call


def found_share(got: list[Any], want: list[Any]) -> float:
    """Share of what the second of two searches found that the first found too."""
    pairs = zip(got, want, strict=True)
    same = [(a.numbers_Qk[..., None] == b.numbers_Qk[:, None]).any(1).double() for a, b in pairs]
    return float(torch.cat(same).mean())


def _said(words: Tensor, want: Tensor) -> Tensor:
    """(B,) whether words (B, n), the start first, are these (B, T + 1)."""
    short = want.shape[1] + 1 - words.shape[1]
    words = nn.functional.pad(words, (0, max(0, short)), value=PAD)
    return (words[:, 1:] == want).all(1)


def _base(seed: int) -> int:
    """Texts held out are drawn with it, those of training with the numbers after it."""
    return 1_000_000 * (seed + 1)
