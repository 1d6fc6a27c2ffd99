"""The cache of a model whose layers look at its embeddings; needs transformers, so import it where it is used.

B batch, M tokens up to now, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from seefar.hf.initial import Project


class InitialCache(Cache):
    """One vector of D for each token, and its place; layers make their keys and values from it whenever they are asked.

    Args:
        projects: keys and values of each layer from initial states and places.
        owner: whoever fills it; only the same one may go on with it.

    Attributes:
        initial: (B, M, D), None while nothing was read.
    """

    def __init__(self, projects: Sequence[Project], *, owner: object) -> None:
        super().__init__(layers=[_Layer(self, project) for project in projects])
        self.owner = owner
        self.initial: Tensor | None = None
        self.places: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.initial is None else self.initial.shape[1]

    def append(self, initial: Tensor, places: Tensor) -> None:
        """Add the states (B, N, D) of new tokens at places (B, N) or (1, N)."""
        places = places.expand(len(initial), -1)
        if self.initial is None or self.places is None:
            self.initial, self.places = initial, places
            return
        if len(initial) != len(self.initial):
            raise ValueError(f"InitialCache: it holds {len(self.initial)} rows, got {len(initial)}; begin another")
        self.initial = torch.cat([self.initial, initial], 1)
        self.places = torch.cat([self.places, places], 1)

    def reset(self) -> None:
        self.initial = self.places = None

    def crop(self, tokens_to_remove: int) -> None:
        keep = max(0, self.length - tokens_to_remove)
        self._map(lambda part: part[:, :keep])

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._map(lambda part: part.index_select(0, beam_idx.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._map(lambda part: part.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._map(lambda part: part[indices])

    def _map(self, change: Any) -> None:
        if self.initial is not None and self.places is not None:
            self.initial, self.places = change(self.initial), change(self.places)


class _Layer(CacheLayerMixin):
    """What one layer of the model asks; all it knows is in the cache around it."""

    is_croppable = True
    supports_early_init = False

    def __init__(self, held: InitialCache, project: Project) -> None:
        super().__init__()
        self.held, self.project = held, project

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens; those given are of the newest."""
        before = self.held.length - key_states.shape[2]
        if before == 0 or self.held.initial is None or self.held.places is None:
            return key_states, value_states
        k, v = self.project(self.held.initial[:, :before], self.held.places[:, :before])
        return torch.cat([k, key_states], 2), torch.cat([v, value_states], 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.held.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.held.length

    def get_max_length(self) -> int:
        return -1
