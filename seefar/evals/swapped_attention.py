"""A trained language model whose attention is swapped for another: does it still find and predict; and what it costs.

B texts, N units of a text, H heads, d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seefar.evals.language import unit_losses
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.hf.attention import use_attention
from seefar.training.fit import fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Attend = Callable[..., Tensor]
Make = Callable[[], Attend] | None
"""Gives a fresh attention for ``use_attention``; None leaves the model its own."""


def trained_decoder(
    batch: Callable[[int], Tensor],
    seed: int,
    setting: Setting,
    *,
    words: int,
    dim: int = 32,
    layers: int = 2,
    heads: int = 2,
    steps: int,
    lr: float = 1e-2,
) -> PreTrainedModel:
    """A small Llama of transformers, trained on texts whose last unit is an answer, which counts as much as all others.

    Args:
        batch: ``batch(step)`` gives texts (B, N).
        seed: of the weights.
        setting: the scale.
        words: units there are.
        dim: width.
        layers: of it.
        heads: of each.
        steps: of training.
        lr: the highest learning rate.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)

    def loss(net: nn.Module, ids: Tensor) -> tuple[Tensor, dict[str, float]]:
        each = unit_losses(net(ids, use_cache=False).logits, ids)
        return each.mean() + each[:, -1].mean(), {}

    fit(model, batch, loss, steps=steps, lr=lr, progress=setting.progress)
    return model


def found_while_decoding(
    model_of: Callable[[int], PreTrainedModel], make: Make, texts: Callable[[int, Any], Tensor]
) -> Arm:
    """Share of texts whose last unit is the likeliest, when all but the last two are a prompt and the next is decoded.

    Args:
        model_of: seed -> a trained model.
        make: its attention.
        texts: ``texts(seed, point)`` gives (B, N).
    """

    def prepared(seed: int) -> Measure:
        model = model_of(seed)

        @torch.inference_mode()
        def measure(point: Any) -> float:
            ids = texts(seed, point)
            with swapped(model, make):
                past = model(ids[:, :-2], use_cache=True, logits_to_keep=1).past_key_values
                logits = model(ids[:, -2:-1], past_key_values=past).logits[:, -1]
            return float((logits.argmax(-1) == ids[:, -1]).double().mean())

        return measure

    return prepared


def perplexity(model_of: Callable[[int], PreTrainedModel], make: Make, texts: Callable[[int], Tensor]) -> Arm:
    """exp of the mean nats of a unit, over all units of texts (B, N) that are read whole."""

    def prepared(seed: int) -> Measure:
        model = model_of(seed)

        @torch.inference_mode()
        def measure(_: Any) -> float:
            ids = texts(seed)
            with swapped(model, make):
                return math.exp(float(unit_losses(model(ids, use_cache=False).logits, ids).mean()))

        return measure

    return prepared


@contextmanager
def swapped(model: PreTrainedModel, make: Make) -> Iterator[None]:
    """The model attends by what ``make`` gives."""
    with nullcontext() if make is None else use_attention(model, make()):
        yield


def decoding(make: Callable[[], Attend], *, tokens: int = 8, heads: int = 8, width: int = 64) -> Callable[[int], Any]:
    """For ``cost_sweep``: attention of ``tokens`` new tokens, one after another, behind a cache of random keys.

    Every call begins with a fresh attention, so that whatever it finds out about the cache is part of the price.
    """

    def prepare(length: int) -> Callable[[], list[Tensor]]:
        generator = torch.Generator().manual_seed(length)
        k, v = torch.randn(2, 1, heads, length + tokens, width, generator=generator).unbind()
        q = torch.randn(1, heads, tokens, width, generator=generator)
        ends: Sequence[int] = range(length + 1, length + tokens + 1)

        @torch.no_grad()
        def call() -> list[Tensor]:
            attend = make()
            return [attend(q[:, :, i : i + 1], k[:, :, :end], v[:, :, :end]) for i, end in enumerate(ends)]

        return call

    return prepare
