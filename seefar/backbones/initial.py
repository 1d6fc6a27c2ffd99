"""A prompt read by its last token alone, where every layer looks at initial states."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seefar.backbones.sequence import SequenceModel
from seefar.mixers.initial import InitialStack


def read_prompt(model: SequenceModel, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Scores (B, 1, V) after the last token of a prompt, and the state after it, as ``model(x, state)`` gives them.

    The tokens before it are embedded and stored; the layers run for the last one alone, so that time grows with the
    length and not with its square.

    Args:
        model: its column is an ``InitialStack`` of ``InitialAttention`` and MLPs.
        x: (B, N) words or (B, N, C).
        state: to go on from.

    Raises:
        ValueError: another column, or more tokens than there are positions.

    Example:
        >>> import torch
        >>> from seefar.mixers import InitialAttention, initial_column
        >>> model = SequenceModel(initial_column("(A F)*2", 8, A=lambda: InitialAttention(8, 2)), 8, 11, words=11)
        >>> ids = torch.randint(11, (1, 300))
        >>> scores, state = read_prompt(model, ids)
        >>> torch.allclose(scores, model(ids)[0][:, -1:], atol=1e-4)
        True
    """
    if not isinstance(model.column, InitialStack):
        raise ValueError(
            f"read_prompt: in a {type(model.column).__name__} later tokens need what earlier ones became; "
            "build the column by initial_column, or call the model"
        )
    early, last = x[:, :-1], x[:, -1:]
    seen, past = (0, None) if state is None else state
    if model.place is not None and seen + x.shape[1] > len(model.place):
        raise ValueError(f"read_prompt: {seen + x.shape[1]} tokens, but positions go to {len(model.place)}")
    if early.shape[1]:
        hidden = model.embed(early)
        if model.place is not None:
            hidden = hidden + model.place[seen : seen + early.shape[1]]
        seen, past = seen + early.shape[1], model.column.remember(hidden, past)
    scores: tuple[Tensor, Any] = model(last, None if past is None else (seen, past))
    return scores
