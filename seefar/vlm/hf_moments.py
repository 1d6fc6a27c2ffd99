"""Which moments an answer rests on, read from the hidden states of the language model while it answers.

N visual tokens in the prompt, A states that write the answer, D channels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seefar.sequence import VisualSequence
from seefar.vlm.answer import Moment


class Listening(AbstractContextManager["Listening"]):
    """Hears one layer while the model generates: its states at the film's tokens, and those that write the answer.

    A forward hook on a module of the model, removed on leaving; the model is not changed. The states that write an
    answer are that of the last token of the prompt and that of each new token.

    Args:
        slots: (N,) places of the film's tokens in the prompt.
        length: tokens of the prompt.
    """

    def __init__(self, layer: nn.Module, slots: Tensor, length: int) -> None:
        self._slots, self._length, self._at = slots, length, 0
        self._film: list[Tensor] = []
        self._answer: list[Tensor] = []
        self._handle = layer.register_forward_hook(self._hear)

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _hear(self, layer: nn.Module, given: Any, said: Any) -> None:
        states: Tensor = (said[0] if isinstance(said, tuple) else said)[0].detach()
        first, self._at, slots = self._at, self._at + len(states), self._slots.to(states.device)
        if first < self._length:
            here = (slots >= first) & (slots < self._at)
            self._film.append(states[slots[here] - first].float())
        if self._at >= self._length:
            self._answer.append(states[max(self._length - 1 - first, 0) :].float())

    def scores(self) -> Tensor:
        """(N,) in [0, 1]: how much each token of the film points where the answer points.

        (1 + cos(v_n - m, a - m)) / 2 with v_n the state at token n, m their mean over the film, a the mean answer
        state. It works on every decoder alike and needs no attention weights; it says what the answer resembles, which
        is not proof of what caused it.
        """
        film, answer = torch.cat(self._film), torch.cat(self._answer).mean(0)
        mean = film.mean(0)
        return ((1 + F.cosine_similarity(film - mean, (answer - mean)[None], dim=-1)) / 2).clamp(0, 1).cpu()


def moments_of(seq: VisualSequence, scores: Tensor, most: int = 5) -> tuple[Moment, ...]:
    """The stretches of film that stand out, strongest first.

    Tokens that begin at the same second are one point in time, scored by the best of them. Points at least one standard
    deviation above the mean (always the best one) stand out; those that follow each other become one moment.

    Args:
        seq: one row of tokens.
        scores: (N,) of its real tokens.
        most: how many moments to name.
    """
    span = seq.span[0, seq.mask[0]].cpu()
    if not len(span):
        return ()
    starts, place = span[:, 0].unique_consecutive(return_inverse=True)
    best = torch.full(starts.shape, -1.0).scatter_reduce(0, place, scores.float(), "amax")
    ends = torch.full_like(starts, -torch.inf).scatter_reduce(
        0, place, span[:, 1].where(scores.float() >= best[place], span[:, 0]), "amax"
    )
    line = min(float(best.mean() + best.std(correction=0)), float(best.max()))
    out = (best >= line).tolist()
    found: list[Moment] = []
    run: list[int] = []
    for i, stands in enumerate([*out, False]):
        if stands:
            run.append(i)
        elif run:
            found.append(Moment(float(starts[run[0]]), float(ends[run].max()), float(best[run].max())))
            run = []
    return tuple(sorted(found, key=lambda moment: -moment.score)[:most])
