"""Taking back the last tokens that a ``SequenceModel`` has read, where its state remembers every token by itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seefar.mixers.softmax import AttentionState


def rolled_back(state: Any, tokens: int) -> Any:
    """The state as it was before the last ``tokens`` tokens: keys and values are cut, counts are taken back.

    Args:
        state: of a ``SequenceModel`` or a column whose mixers are attention without a window and layers without state.
        tokens: how many; not more than were read.

    Raises:
        ValueError: fewer tokens were read, or a mixer sums its past up and so can't give the last tokens back.

    Example:
        >>> import torch
        >>> from seefar.mixers import Attention
        >>> mixer, x = Attention(8, 2), torch.randn(1, 5, 8)
        >>> cut, short = rolled_back(mixer(x)[1], 2), mixer(x[:, :3])[1]
        >>> cut.seen, torch.equal(cut.k_BKMd, short.k_BKMd)
        (3, True)
    """
    if isinstance(state, AttentionState):
        if state.k_BKMd.shape[2] != state.seen:
            raise ValueError(
                "rolled_back: a window has dropped the keys that earlier tokens saw; keep the state itself"
            )
        if tokens > state.seen:
            raise ValueError(f"rolled_back: {state.seen} tokens were read, so {tokens} can't be taken back")
        left = state.seen - tokens
        return AttentionState(state.k_BKMd[:, :, :left], state.v_BKMd[:, :, :left], left)
    if isinstance(state, int):
        return state - tokens
    if isinstance(state, Tensor) or (hasattr(state, "_fields") and state):
        raise ValueError(f"rolled_back: a {type(state).__name__} sums its past up; keep the state before the tokens")
    return tuple(rolled_back(part, tokens) for part in state)
