"""What a stretch of tokens costs after so many others, for a mixer that reads a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from seefar.evals.language import state_bytes
from seefar.mixers.base import Mixer


def stretch_after(mixer: Mixer, dim: int, *, at_once: int = 1024) -> Callable[[int], tuple[Callable[[], Any], int]]:
    """For ``evals.recall.cost_after``: ``at_once`` tokens mixed in one call after a stream of others, and its bytes.

    A stretch is mixed once in training mode before, for what a mixer takes from its first batch, such as codes.

    Args:
        mixer: causal; an untrained one will do.
        dim: of its tokens.
        at_once: tokens of a call.

    Raises:
        ValueError: a mixer that is not causal; by ``prepare``, an age that is no multiple of ``at_once``.
    """
    if not mixer.causal:
        raise ValueError(f"stretch_after: a {type(mixer).__name__} that is not causal reads no stream; make it causal")
    generator = torch.Generator().manual_seed(0)

    def stretch() -> torch.Tensor:
        return torch.randn(1, at_once, dim, generator=generator)

    with torch.no_grad():
        mixer.train()(stretch())
    mixer.eval()

    def prepare(age: int) -> tuple[Callable[[], None], int]:
        if age % at_once:
            raise ValueError(f"stretch_after: a stream is read {at_once} tokens at a time, got {age} before")
        state: Any = None
        with torch.inference_mode():
            for _ in range(age // at_once):
                state = mixer(stretch(), state)[1]
        x = stretch()

        @torch.inference_mode()
        def call() -> None:
            mixer(x, state)

        return call, state_bytes(state)

    return prepare
