from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seefar.mixers.base import Mixer


class _IgnoresItsState(Mixer):
    causal, bounded = True, True

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.mixer(x, None)


class _DetachesItsState(_IgnoresItsState):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.mixer(x, tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, state))


class _PeeksAhead(_IgnoresItsState):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.mixer(x + 0.1 * torch.cat([x[:, 1:], x[:, -1:]], 1), state)


@pytest.fixture(params=[_IgnoresItsState, _DetachesItsState, _PeeksAhead])
def broken(request: pytest.FixtureRequest) -> Callable[[Mixer], Mixer]:
    """The three ways of breaking the law of streaming, around any mixer."""
    return request.param


class _Forgets(_IgnoresItsState):
    def __init__(self, mixer: Mixer, part: str) -> None:
        super().__init__(mixer)
        self.part = part

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if state is not None:
            state = state._replace(**{self.part: torch.zeros_like(getattr(state, self.part))})
        return self.mixer(x, state)


@pytest.fixture
def forgetful() -> Callable[[Mixer, str], Mixer]:
    """A mixer that finds one part of its state empty."""
    return _Forgets
