"""One model for all experiments on sequences: something in, a column of mixers, something out.

B batch, N tokens, C channels of an input that is no word, D channels inside, V outputs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer

Pool = Literal["mean", "last"]


class SequenceModel(nn.Module):
    """Words or vectors to scores: at every token (a language model), or once for the whole sequence (a classifier).

    logits = W norm(column(embed(x))),   the mean or the last of them over tokens taken before W where ``pool`` says so

    ``(logits, state) = model(x, state)`` as in a mixer: without ``pool`` it streams if its column does.

    Args:
        column: mixes (B, N, D), such as ``column("(M F A F)*3", ...)``.
        dim: D.
        outputs: V, words or classes.
        words: size of the vocabulary of inputs (B, N) int64; None for inputs (B, N, C).
        channels: C.
        positions: length of a learned table of positions that is added; None for none, as most mixers need none.
        tied: the head is the embedding, for words in and words out.
        pool: None for scores at every token.

    Raises:
        ValueError: both or neither of ``words`` and ``channels``; a tied head that does not fit; a sequence longer than
            the table of positions; a state given to a model that pools.
    """

    def __init__(
        self,
        column: Mixer,
        dim: int,
        outputs: int,
        *,
        words: int | None = None,
        channels: int | None = None,
        positions: int | None = None,
        tied: bool = False,
        pool: Pool | None = None,
    ) -> None:
        super().__init__()
        if (words is None) == (channels is None):
            raise ValueError(f"SequenceModel: takes words or channels, got {words=} and {channels=}")
        if tied and (words != outputs or pool is not None):
            raise ValueError(f"SequenceModel: a tied head needs as many outputs as words and no pool, got {words=}")
        self.pool = pool
        self.embed = nn.Linear(channels, dim) if words is None and channels else nn.Embedding(words or 1, dim)
        if isinstance(self.embed, nn.Embedding):
            nn.init.normal_(self.embed.weight, std=0.02 if tied else 1.0)
        self.place = None if positions is None else nn.Parameter(0.02 * torch.randn(positions, dim))
        self.column = column
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, outputs, bias=not tied)
        if tied and isinstance(self.embed, nn.Embedding):
            self.head.weight = self.embed.weight

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (B, N, V) of x, going on from ``state``, and the state after it; (B, V) and None where it pools."""
        streams = self.column.causal and self.pool is None
        if state is not None and not streams:
            why = "its column is not causal" if self.pool is None else "it pools"
            raise ValueError(f"SequenceModel: {why}, so it reads a sequence whole and there is no state to go on from")
        seen, past = (0, None) if state is None else state
        hidden = self.embed(x)
        if self.place is not None:
            if seen + x.shape[1] > len(self.place):
                raise ValueError(
                    f"SequenceModel: {seen + x.shape[1]} tokens, but positions go to {len(self.place)}; "
                    "give it a longer table, or none"
                )
            hidden = hidden + self.place[seen : seen + x.shape[1]]
        hidden, past = self.column(hidden, past)
        if self.pool == "mean":
            hidden = hidden.mean(1)
        elif self.pool == "last":
            hidden = hidden[:, -1]
        return self.head(self.norm(hidden)), (seen + x.shape[1], past) if streams else None
