"""Columns of mixers written as patterns, such as ``"(M F A F)*3"``.

B batch, N tokens, D channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.block import Block, Stack


class MLP(Mixer):
    """Each token by itself: ``W_2 gelu(W_1 x)``; it mixes nothing along N, so its state is empty.

    Args:
        ratio: hidden width over ``dim``.
        gated: ``W_2 (silu(W_1 x) * W_3 x)`` instead, with hidden width 2/3 as large (arXiv 2002.05202).
    """

    causal, bounded = True, True

    def __init__(self, dim: int, *, ratio: float = 4.0, gated: bool = False) -> None:
        super().__init__()
        if ratio <= 0:
            raise ValueError(f"MLP: ratio must be positive, got {ratio}")
        hidden = round(dim * ratio * (2 / 3 if gated else 1))
        self.gate = nn.Linear(dim, hidden, bias=False) if gated else None
        self.into = nn.Linear(dim, hidden, bias=not gated)
        self.out = nn.Linear(hidden, dim, bias=not gated)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, tuple[()]]:
        """Map x (B, N, D)."""
        inner = (
            nn.functional.gelu(self.into(x)) if self.gate is None else nn.functional.silu(self.gate(x)) * self.into(x)
        )
        return self.out(inner), ()


def column(
    pattern: str,
    dim: int,
    *,
    norm: Callable[[int], nn.Module] | None = None,
    **makers: Callable[[], Mixer],
) -> Stack:
    """A stack of pre-norm residual layers, ``x <- x + mixer(norm(x))``, one for each letter of ``pattern``.

    Args:
        pattern: capital letters and spaces; ``(...)*n`` repeats a group, also inside another one.
        dim: D.
        norm: makes the norms from D; RMSNorm when left out.
        makers: the letters, each a call that makes a fresh mixer; ``F`` is ``MLP(dim)`` unless given.

    Raises:
        ValueError: a letter without a maker, brackets that do not match, or no letter at all.

    Example:
        >>> from seefar.mixers import Attention, Mamba
        >>> samba = column("(M F A F)*2", 32, M=lambda: Mamba(32), A=lambda: Attention(32, 4, window=8))
        >>> [type(block.mixer).__name__ for block in samba.blocks]
        ['Mamba', 'MLP', 'Attention', 'MLP', 'Mamba', 'MLP', 'Attention', 'MLP']
    """
    makers = {"F": lambda: MLP(dim), **makers}
    letters = spelled(pattern)
    unknown = sorted(set(letters) - set(makers))
    if unknown:
        raise ValueError(f"column: {pattern!r} has no maker for {', '.join(unknown)}; pass {unknown[0]}=lambda: ...")
    return Stack([Block(dim, makers[letter](), mlp_ratio=0, norm=norm) for letter in letters])


def spelled(pattern: str) -> str:
    """The letters of a pattern with every repeat written out.

    >>> spelled("(M F (A F)*2)*2 M")
    'MFAFAFMFAFAFM'
    """
    text = pattern.replace(" ", "")
    group = re.compile(r"\(([A-Z]*)\)(?:\*(\d+))?")
    while found := group.search(text):
        text = text[: found.start()] + found[1] * int(found[2] or 1) + text[found.end() :]
    if not re.fullmatch(r"[A-Z]+", text):
        raise ValueError(f"pattern: {pattern!r} is not letters and groups such as '(M F A F)*3'; stopped at {text!r}")
    return text
