"""Memory over segments measured: how far back it learns to reach, and what its gradients cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seefar.evals.protocols import Arm, Curves, Figure, Measure, Setting, peak_bytes
from seefar.mixers.segments import Segments
from seefar.synthetic.remote import SYMBOLS, remote_copy
from seefar.training.curriculum import Curriculum
from seefar.training.fit import fit


def copies(
    build: Callable[[], Segments],
    lessons: Curriculum[int],
    setting: Setting,
    *,
    batch: int = 64,
    tests: int = 500,
    lr: float = 3e-3,
) -> Arm:
    """Share of symbols given back at the end of a text, by its number of segments, after training on that task.

    Args:
        build: the model with its memory.
        lessons: most segments of a text; every batch has from two up to as many.
        setting: the scale.
        batch: texts of a step.
        tests: texts held out.
        lr: the highest learning rate.
    """

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()

        def texts(step: int) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(step)
            count = int(torch.randint(2, lessons(step) + 1, (), generator=generator))
            return remote_copy(batch, count, model.segment, seed=1_000_000 * (seed + 1) + 1 + step)

        def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            assert isinstance(net, Segments)
            return net.loss(*data)[0], {}

        fit(model, texts, loss, steps=lessons.steps, lr=lr, schedule=_steady, progress=setting.progress)

        @torch.inference_mode()
        def found(segments: int) -> float:
            ids, _ = remote_copy(tests, segments, model.segment, seed=1_000_000 * (seed + 1))
            past, last = ids[:, : -model.segment], ids[:, -model.segment :]
            logits, _ = model(last, model(past)[1] if past.shape[1] else None)
            return float((logits[:, -2].argmax(-1) == ids[:, -1]).double().mean())

        return found

    return prepared


def _steady(step: int, steps: int) -> float:
    """A short rise and then no fall: the last lesson is the hardest."""
    return min(1.0, (step + 1) / 30)


Ready = Callable[[int], Callable[[], None]]
"""``prepare(segments)`` gives a call."""


def training_cost(
    arms: Mapping[str, Ready], counts: Sequence[int], setting: Setting, *, repeats: int = 3
) -> tuple[Curves, Curves]:
    """Seconds of the processor and peak bytes of a forward and a backward pass, by the number of segments.

    ``cost_sweep`` with the processor's own clock, which others on the same core do not move. Seconds are the least of
    ``repeats`` calls after the one whose memory is measured; arms take turns.
    """
    seconds: dict[str, dict[int, Figure]] = {arm: {} for arm in arms}
    held: dict[str, dict[int, Figure]] = {arm: {} for arm in arms}
    for done, count in enumerate(counts):
        calls = {arm: prepare(count) for arm, prepare in arms.items()}
        best = dict.fromkeys(arms, math.inf)
        for arm, call in calls.items():
            held[arm][count] = Figure((float(peak_bytes(call)),))
        for _ in range(repeats):
            for arm, call in calls.items():
                began = time.process_time()
                call()
                best[arm] = min(best[arm], time.process_time() - began)
        for arm, least in best.items():
            seconds[arm][count] = Figure((least,))
        if setting.progress is not None:
            setting.progress("training cost", done + 1, len(counts))
    return Curves(seconds), Curves(held)


def backward(segments: Segments, *, checkpointed: bool = False) -> Ready:
    """For ``training_cost``: loss and gradient of one random text.

    Args:
        segments: the model with its memory.
        checkpointed: torch's checkpoint around every segment, in place of what ``segments`` does over several.
    """

    def prepare(count: int) -> Callable[[], None]:
        generator = torch.Generator().manual_seed(count)
        ids = torch.randint(SYMBOLS, (1, count * segments.segment), generator=generator)

        def one(piece: Tensor, state: Any) -> tuple[Tensor, Any]:
            return segments.loss(piece, state=state)

        def call() -> None:
            if not checkpointed:
                segments.loss(ids)[0].backward()
            else:
                state, losses = None, []
                for piece in ids.split(segments.segment, 1):
                    loss, state = checkpoint(one, piece, state, use_reentrant=False)
                    losses.append(loss)
                torch.stack(losses).mean().backward()
            segments.zero_grad()

        return call

    return prepare


def gradient_gap(a: Segments, b: Segments, *, segments: int = 16, batch: int = 2) -> float:
    """How far two models' gradients are apart on one random text, in float64.

    The largest difference in the gradient of a parameter over its largest number, for the worst of the parameters. Both
    get the weights of a, of which matrices that begin at zero are drawn, so that gradients do pass through the memory.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in a.parameters():
            if weight.ndim == 2 and not weight.any():
                weight.normal_(0, weight.shape[1] ** -0.5, generator=generator)
    b.load_state_dict(a.state_dict())
    ids = torch.randint(SYMBOLS, (batch, segments * a.segment), generator=torch.Generator().manual_seed(0))
    grads = []
    for model in (a, b):
        model.double()
        grads.append(torch.autograd.grad(model.loss(ids)[0], [*model.parameters()], allow_unused=True))
    gaps = [_gap(x, y) for x, y in zip(*grads, strict=True)]
    return max(gaps)


def _gap(x: Tensor | None, y: Tensor | None) -> float:
    if x is None or y is None:
        return 0.0 if x is y else float("inf")
    return float((x - y).abs().max() / x.abs().max().clamp(min=1e-30))
