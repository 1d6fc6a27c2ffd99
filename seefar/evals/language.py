"""Language models trained alike and measured: loss and recall by length, and the price of a word after a long past.

B texts, N units of a text, V units there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.sentences import Recalled
from seefar.training.fit import fit


def trained(
    build: Callable[[], nn.Module],
    batch: Callable[[int, int], Tensor | Recalled],
    measure: Callable[[nn.Module, int, Any], float],
    setting: Setting,
    *,
    steps: int,
    lr: float = 3e-3,
    answers: float = 1.0,
) -> Arm:
    """A language model trained once for a seed, then measured at every point.

    Args:
        build: gives ``model(ids, state) -> (logits, state)``, such as a ``SequenceModel``.
        batch: ``batch(seed, step)`` gives texts (B, N), or texts with answers.
        measure: ``measure(model, seed, point)``, without gradients.
        setting: the scale.
        steps: of training.
        lr: the highest learning rate.
        answers: weight of the mean loss at answers, beside that of all units.
    """

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()

        def loss(net: nn.Module, data: Tensor | Recalled) -> tuple[Tensor, dict[str, float]]:
            ids = data.ids if isinstance(data, Recalled) else data
            each = unit_losses(net(ids)[0], ids)
            value = each.mean()
            if isinstance(data, Recalled):
                value = value + answers * each[data.answers[:, 1:]].mean()
            return value, {}

        fit(model, lambda step: batch(seed, step), loss, steps=steps, lr=lr, progress=setting.progress)
        return lambda point: torch.inference_mode()(measure)(model, seed, point)

    return prepared


def unit_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """(B, N - 1) nats of each unit of ids (B, N) but the first, by the logits (B, N, V) at the unit before it."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


@torch.inference_mode()
def read(model: nn.Module, ids: Tensor, *, chunk: int = 1024) -> Tensor:
    """Logits (B, N, V) of a text read as a stream, ``chunk`` units at a time, so that a long one fits in memory."""
    pieces, state = [], None
    for piece in ids.split(chunk, 1):
        logits, state = model(piece, state)
        pieces.append(logits)
    return torch.cat(pieces, 1)


def loss_of(model: nn.Module, ids: Tensor, *, last: int | None = None) -> float:
    """Mean nats of a unit of the texts (B, N), or of their ``last`` units alone."""
    return float(unit_losses(read(model, ids), ids)[:, -(last or ids.shape[1]) :].mean())


def recall_of(model: nn.Module, data: Recalled) -> float:
    """Share of texts whose last answer is found, every digit of it."""
    return float(data.found_by(read(model, data.ids)).double().mean())


def state_bytes(state: Any) -> int:
    """Bytes of all tensors of a state, however they are nested."""
    if isinstance(state, Tensor):
        return state.nbytes
    if is_dataclass(state):
        return sum(state_bytes(getattr(state, field.name)) for field in fields(state))
    return sum(state_bytes(part) for part in state) if isinstance(state, tuple | list) else 0


def generating(model: nn.Module, words: int, *, at_once: int = 16) -> Callable[[int], tuple[Callable[[], Any], int]]:
    """For ``evals.recall.cost_after``: ``at_once`` words read one at a time after a past of others, and its bytes."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    some = torch.randint(words, (1, at_once), generator=generator)

    def prepare(age: int) -> tuple[Callable[[], None], int]:
        past: Any = None
        with torch.inference_mode():
            for piece in torch.randint(words, (1, age), generator=generator).split(1024, 1):
                past = model(piece, past)[1]

        @torch.inference_mode()
        def call() -> None:
            state = past
            for word in some.split(1, 1):
                state = model(word, state)[1]

        return call, state_bytes(past)

    return prepare
