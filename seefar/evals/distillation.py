"""What a distilled model keeps of the one it was made from, and how fast models of sequences write."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting
from seefar.mixers.base import Mixer
from seefar.mixers.hyena import ConvState, Hyena, ImplicitConv
from seefar.synthetic.digit_words import digit_words
from seefar.synthetic.handwriting import LEVELS
from seefar.training.fit import fit

Taught = Callable[[int], nn.Module]
"""The trained model of a seed."""
Shorten = Callable[[nn.Module, int], nn.Module]
"""A copy of a model that holds so many numbers of each signal."""


def taught(
    build: Callable[[], nn.Module], setting: Setting, *, steps: int, pictures: int, batch: int = 16, lr: float = 3e-3
) -> Taught:
    """A language model of digits, trained once a seed however many arms use it.

    Args:
        build: ``(logits, state) = model(ids)``.
        setting: the scale.
        steps: of training.
        pictures: of a text.
        batch: texts of a step.
        lr: the highest learning rate.
    """

    @cache
    def trained(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = build()

        def texts(step: int) -> Tensor:
            return digit_words(batch, pictures, seed=100_000 * (seed + 1) + step)

        fit(model, texts, lambda net, ids: (_surprise(net, ids), {}), steps=steps, lr=lr, progress=setting.progress)
        return model

    return trained


def perplexity_change(trained: Taught, shorten: Shorten, *, pictures: int, texts: int = 64) -> Arm:
    """Perplexity on held-out digits after ``shorten``, over that before, minus one, by the size that it shortens to."""

    def prepared(seed: int) -> Measure:
        model, ids = trained(seed), digit_words(texts, pictures, split="held-out", seed=seed)
        with torch.no_grad():
            before = float(_surprise(model, ids))
        return lambda size: math.expm1(float(torch.no_grad()(_surprise)(shorten(model, size), ids)) - before)

    return prepared


def perplexity(trained: Taught, *, pictures: int, texts: int = 64) -> Arm:
    """Perplexity on held-out digits, whatever the point."""

    def prepared(seed: int) -> Measure:
        ids = digit_words(texts, pictures, split="held-out", seed=seed)
        return lambda _: math.exp(float(torch.no_grad()(_surprise)(trained(seed), ids)))

    return prepared


def logit_error(trained: Taught, shorten: Shorten, *, pictures: int, texts: int = 16) -> Arm:
    """Mean distance of the logits after ``shorten`` from those before, over the mean size of these."""

    def prepared(seed: int) -> Measure:
        model, ids = trained(seed), digit_words(texts, pictures, split="held-out", seed=seed)

        @torch.inference_mode()
        def measure(size: int) -> float:
            before = model(ids)[0]
            return float((shorten(model, size)(ids)[0] - before).abs().mean() / before.abs().mean())

        return measure

    return prepared


def cut(model: nn.Module, taps: int) -> nn.Module:
    """A copy of a model whose long filters end after so many taps: as many inputs are held of each signal."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, Hyena) and isinstance(layer.conv, ImplicitConv):
            layer.conv = _Cut(layer.conv, taps)
    return model


class _Cut(Mixer):
    """Reads a whole sequence with a filter that is zero after ``taps``."""

    causal, bounded = True, False

    def __init__(self, conv: ImplicitConv, taps: int) -> None:
        super().__init__()
        self.conv, self.taps = conv, taps

    def forward(self, x: Tensor, state: ConvState | None = None) -> tuple[Tensor, ConvState]:
        taps_TM = self.conv.kernel(self.taps)
        ahead = 1 << (x.shape[1] + (0 if state is None else state.past_BNMS.shape[1]) - 1).bit_length()
        zeros_TM = taps_TM.new_zeros(max(0, ahead - self.taps), taps_TM.shape[1])
        past_BNMS = x[:, :0] if state is None else state.past_BNMS
        return self.conv(x, ConvState(past_BNMS, torch.cat([taps_TM, zeros_TM])))


def writing(
    build: Callable[[], nn.Module], *, batch: int, tokens: int, prompt: bool = False, seed: int = 0
) -> Callable[[int], Callable[[], Any]]:
    """For ``cost_sweep``: so many tokens written one by one after a context of the length; each call begins there anew.

    Args:
        build: ``(logits, state) = model(ids, state)``, a vocabulary of ``LEVELS``.
        batch: streams at once.
        tokens: written.
        prompt: reading the context is part of the call.
        seed: of the context, and of what ``build`` draws.
    """
    torch.manual_seed(seed)
    model = build().eval()
    generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def prepare(length: int) -> Callable[[], Any]:
        ids = torch.randint(LEVELS, (batch, length), generator=generator)
        read = None if prompt else model(ids)

        @torch.inference_mode()
        def call() -> Tensor:
            logits, state = model(ids) if read is None else read
            for _ in range(tokens):
                logits, state = model(logits[:, -1:].argmax(-1), state)
            return logits

        return call

    return prepare


def _surprise(model: nn.Module, ids: Tensor) -> Tensor:
    return F.cross_entropy(model(ids[:, :-1])[0].flatten(0, 1), ids[:, 1:].flatten())
