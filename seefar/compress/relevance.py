"""How much each token has to do with the question: objects that ``TopK`` is given.

B batch, N tokens, Q query vectors, D channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.sequence import VisualSequence

Relevance = Callable[[VisualSequence, Tensor | None], Tensor]
"""``relevance(seq, query)`` gives (B, N) scores, higher where a token matters more; those of padding are never read."""


class Cosine:
    """A token is as relevant as the query vector that it resembles most.

    ``score_n = max_q cos(token_n, query_q)``, in [-1, 1]. All-zero query vectors are padding, passed over.

    Shapes:
        query (B, Q, D) or (B, D), of the width of the tokens -> scores (B, N), at least float32.

    Raises:
        ValueError: there is no query, or its batch or width is not that of the tokens.
    """

    def __call__(self, seq: VisualSequence, query: Tensor | None) -> Tensor:
        B, _, D = seq.tokens.shape
        if query is None:
            raise ValueError("Cosine: needs a query, (B, Q, D) or (B, D) features in the space of the tokens, got None")
        query = query[:, None] if query.ndim == 2 else query
        if query.ndim != 3 or query.shape[0] != B or query.shape[2] != D or query.shape[1] == 0:
            raise ValueError(f"Cosine: query must be ({B}, Q, {D}) or ({B}, {D}), got {tuple(query.shape)}")
        wide = torch.promote_types(seq.tokens.dtype, torch.float32)
        query = query.to(wide)
        cosines = F.normalize(seq.tokens.to(wide), dim=-1) @ F.normalize(query, dim=-1).mT
        padding = (query == 0).all(-1)
        padding &= ~padding.all(1, keepdim=True)
        return cosines.masked_fill(padding[:, None], -torch.inf).amax(-1)
