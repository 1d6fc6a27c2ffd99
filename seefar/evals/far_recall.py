"""One symbol kept over texts far longer than those of training: recall by length."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.language import read
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.remote import remote_copy
from seefar.training.curriculum import Curriculum
from seefar.training.fit import fit

Taught = Callable[[int], nn.Module]
"""Seed -> the model trained with it, the same one each time."""


def taught(
    build: Callable[[], nn.Module], lessons: Curriculum[int], setting: Setting, *, tokens: int = 2048, lr: float = 1e-2
) -> Taught:
    """Train on texts in which one symbol is marked, anywhere, and asked for at the end; only the answer is learnt.

    Args:
        build: gives ``model(ids, state) -> (logits, state)``, such as a ``SequenceModel``, over ``remote.VOCABULARY``.
        lessons: tokens of a text.
        setting: the scale.
        tokens: of all texts of a step together.
        lr: the highest learning rate.
    """

    @cache
    def model_of(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model, base = build(), _base(seed)

        def texts(step: int) -> tuple[Tensor, Tensor]:
            length = lessons(step)
            return remote_copy(max(1, tokens // length), 1, length, seed=base + 1 + step)

        def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            return F.cross_entropy(net(data[0])[0][:, -2], data[1][:, -1]), {}

        fit(model, texts, loss, steps=lessons.steps, lr=lr, progress=setting.progress)
        return model

    return model_of


def kept(
    model_of: Taught,
    within: int,
    *,
    tests: int = 200,
    logits: Callable[[nn.Module, Tensor], Tensor] = read,
) -> Arm:
    """Share of marked symbols that the model says at the end, by the length of the text.

    Args:
        model_of: seed -> the model.
        within: the mark stands in so many first tokens, so that all of a longer text lies between.
        tests: texts held out.
        logits: (model, ids (B, N)) -> (B, N', V), the last two for the question and the answer; read as a stream unless
            told otherwise.

    Raises:
        ValueError: by the measure, for a length that is no multiple of ``within``.
    """

    def prepared(seed: int) -> Measure:
        model = model_of(seed)

        @torch.inference_mode()
        def share(length: int) -> float:
            if length % within:
                raise ValueError(f"kept: lengths are multiples of the first {within} tokens, got {length}")
            ids, labels = remote_copy(tests, length // within, within, seed=_base(seed))
            said = [logits(model, some)[:, -2].argmax(-1) for some in ids.split(max(1, 2**15 // length))]
            return float((torch.cat(said) == labels[:, -1]).double().mean())

        return share

    return prepared


def prompt(build: Callable[[], nn.Module]) -> Callable[[int], Callable[[], Tensor]]:
    """For ``cost_sweep``: an untrained model reads a text of so many tokens as a stream."""

    def prepare(length: int) -> Callable[[], Tensor]:
        model, (ids, _) = build().eval(), remote_copy(1, 1, length, seed=0)
        return lambda: read(model, ids)

    return prepare


def _base(seed: int) -> int:
    """Texts held out are drawn with it, those of training with the numbers after it."""
    return 1_000_000 * (seed + 1)
