"""Memory tokens alone: what the last segment made of them is what the next one begins with.

B batch, N tokens, M memory tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from seefar.mixers.segments import new_memory_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenState(NamedTuple):
    """The memory tokens as they came out of the last segment."""

    m_BMD: Tensor


class TokenMemory(nn.Module):
    """What ``Segments`` carries in RMT: M vectors, read at the front of a segment and rewritten at its end.

    A segment is [m; its tokens; m]; the outputs of the last M positions, behind the decoder's last norm, are the m of
    the next segment. The first m are learnt.

    Args:
        model: the decoder that ``Segments`` is given.
        tokens: M.

    Reference: Bulatov et al., Recurrent Memory Transformer, arXiv 2207.06881.
    """

    def __init__(self, model: PreTrainedModel, tokens: int = 4) -> None:
        super().__init__()
        self.tokens = new_memory_tokens(model, tokens)
        self.places = 2 * tokens
        self.kind = f"TokenMemory({tokens} tokens of {self.tokens.shape[1]})"

    def run(self, model: PreTrainedModel, x_BND: Tensor, state: TokenState | None) -> tuple[Tensor, TokenState]:
        """Logits of one embedded segment, and the memory tokens after it."""
        m_BMD = self._begin(x_BND, state)
        M, hidden = m_BMD.shape[1], list[Tensor]()

        def keep(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            hidden.append(output[0])

        handle = model.base_model.register_forward_hook(keep)
        try:
            logits: Tensor = model(inputs_embeds=torch.cat([m_BMD, x_BND, m_BMD], 1), use_cache=False).logits
        finally:
            handle.remove()
        # a copy: a view would keep the whole segment in memory
        return logits[:, M:-M], TokenState(hidden[0][:, -M:].clone())

    @contextmanager
    def reading(self, model: PreTrainedModel, x_BND: Tensor, state: TokenState | None) -> Iterator[Tensor]:
        """The segment with the memory tokens in front; nothing is written."""
        yield torch.cat([self._begin(x_BND, state), x_BND], 1)

    def pack(self, state: TokenState) -> dict[str, Tensor]:
        """The tensors of the state by name."""
        return state._asdict()

    def unpack(self, tensors: Mapping[str, Tensor]) -> TokenState:
        """The state of these tensors."""
        return TokenState(**tensors)

    def _begin(self, x_BND: Tensor, state: TokenState | None) -> Tensor:
        if state is None:
            return self.tokens.expand(len(x_BND), -1, -1)
        if len(state.m_BMD) != len(x_BND):
            raise ValueError(
                f"TokenMemory: the state is of {len(state.m_BMD)} streams, got {len(x_BND)}; "
                "begin others with state=None"
            )
        return state.m_BMD
