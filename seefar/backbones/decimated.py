"""A model of sequences whose column lets fewer tokens through."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from seefar.backbones.sequence import SequenceModel
from seefar.mixers.block import Stack
from seefar.mixers.decimate import Decimated, Keep, Score, step_norm


def decimate(
    model: SequenceModel,
    layers: Sequence[int],
    *,
    keep: Keep | None = None,
    protect: int = 0,
    score: Score = step_norm,
) -> SequenceModel:
    """The same model, weights shared, that drops tokens at some of its Mamba layers as ``mixers.Decimated`` does.

    Its first call gives logits (B, K, V) of the tokens that are kept, the response among them at the end; the state
    ``(seen, state)`` after it tells which by ``state.kept_BK``, and with it the model goes on as ever. The model that
    was given is left as it is.

    Args:
        model: with a Stack for its column.
        layers: which of its blocks decimate, as in ``Decimated``.
        keep: how many tokens stay.
        protect: tokens of the response at the end.
        score: (B, N, E) steps -> (B, N) scores.

    Raises:
        ValueError: the column isn't a Stack, or what ``Decimated`` refuses.
    """
    if not isinstance(model.column, Stack):
        raise ValueError(f"decimate: needs a model with a Stack for its column, got {type(model.column).__name__}")
    twin: Any = copy(model)
    twin._modules = dict(model._modules)  # a copy of a module shares its table of parts
    twin.column = Decimated(model.column, layers, keep=keep, protect=protect, score=score)
    made: SequenceModel = twin
    return made
