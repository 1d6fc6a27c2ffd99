"""Segment recurrence: a decoder reads an endless text piece by piece, and a memory goes from piece to piece.

B batch, N tokens, V words of the vocabulary, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.replay import Step, replay

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SegmentMemory(Protocol):
    """What goes from one segment to the next and how a decoder takes it up.

    ``LayerMemory``, ``SlotMemory`` and ``TokenMemory`` are.

    Attributes:
        places: positions that it adds to every segment.
        kind: everything that two memories must share for one to go on from a state of the other.
    """

    places: int
    kind: str

    def run(self, model: PreTrainedModel, x_BND: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits (B, N, V) of one embedded segment, and the state after it."""

    def reading(self, model: PreTrainedModel, x_BND: Tensor, state: Any) -> AbstractContextManager[Tensor]:
        """While it lasts the model reads the state and writes nothing; gives what to feed it instead of x_BND."""

    def pack(self, state: Any) -> dict[str, Tensor]:
        """The tensors of a state by name."""

    def unpack(self, tensors: Mapping[str, Tensor]) -> Any:
        """The state of these tensors."""


class Segments(nn.Module):
    """A language model over text of any length: full attention inside a segment, a memory of fixed size across them.

    ``(logits, state) = segments(ids, state)``, as with a mixer: each call cuts its ids into segments from its own first
    token, the last may be shorter, and goes on from ``state``. One call is the same as several whenever all but the
    last hold whole segments: logits, gradients, final state. Positions begin anew in every segment, so time and memory
    do not depend on what was read before. The model itself is not changed; it may be used alone at any time.

    Args:
        model: a decoder of transformers with a language head.
        memory: what is carried, made for this model.
        segment: tokens of one segment.
        truncate: how many segments a gradient reaches back, counted from the last of each call; None for all, earlier
            calls included.
        replay: go forward without a graph and build it anew backwards, segment by segment (arXiv 2010.06891): the same
            gradients for the activations of one segment and one more pass forward; see ``seefar.mixers.replay``.

    Raises:
        ValueError: segment or truncate below 1, or a model with fewer positions than a segment needs.

    Reference: Bulatov et al., Recurrent Memory Transformer, arXiv 2207.06881.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        memory: SegmentMemory,
        *,
        segment: int,
        truncate: int | None = None,
        replay: bool = False,
    ) -> None:
        super().__init__()
        if segment < 1:
            raise ValueError(f"Segments: a segment holds at least one token, got {segment=}")
        if truncate is not None and truncate < 1:
            raise ValueError(f"Segments: a gradient reaches at least one segment, got {truncate=}; None for all")
        table = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if table is not None and table < segment + memory.places:
            raise ValueError(
                f"Segments: {type(model).__name__} has {table} positions, a segment of {segment} and the memory's "
                f"{memory.places} need {segment + memory.places}; use segment={table - memory.places} or a longer table"
            )
        self.model, self.memory, self.segment, self.truncate = model, memory, segment, truncate
        self.replay = replay

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits (B, N, V) for ids (B, N), and the state after the last segment; None begins new streams."""
        pieces = self._embedded(ids).split(self.segment, 1)
        logits, state = self._through(partial(self.memory.run, self.model), pieces, state)
        return torch.cat(logits, 1), state

    def loss(self, ids: Tensor, labels: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Mean nats of the tokens that count, each foretold by those before it, and the state after the last segment.

        No more than the logits of one segment exist at once, so that with ``replay`` memory hardly grows with ids.

        Args:
            ids: (B, N) tokens.
            labels: (B, N) as transformers has them: the token where it counts, -100 elsewhere; None for all. The first
                of a call never counts.
            state: to go on from.

        Raises:
            ValueError: labels of another shape, or no token that counts.
        """
        labels = ids if labels is None else labels
        if labels.shape != ids.shape:
            raise ValueError(f"Segments: labels must be as ids {tuple(ids.shape)}, got {tuple(labels.shape)}")
        wanted = F.pad(labels[:, 1:], (0, 1), value=-100)
        count = int((wanted != -100).sum())
        if not count:
            raise ValueError("Segments: no token counts in any segment, so there is no loss; see labels")

        def step(piece: tuple[Tensor, Tensor], state: Any) -> tuple[Tensor, Any]:
            logits, state = self.memory.run(self.model, self._embedded(piece[0]), state)
            exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return F.cross_entropy(exact.flatten(0, 1), piece[1].flatten(), reduction="sum"), state

        pieces = list(zip(*(part.split(self.segment, 1) for part in (ids, wanted)), strict=True))
        nats, state = self._through(step, pieces, state)
        return torch.stack(nats).sum() / count, state

    @torch.no_grad()
    def generate(self, ids: Tensor, state: Any = None, **options: Any) -> Tensor:
        """What the model's own ``generate`` writes after ids (B, N): the new tokens alone.

        Whole segments of ids are read and written first; the last one, whole or not, stays open, and while text is
        written the memory is read and never written. One row for each stream: no beams.

        Args:
            ids: (B, N) what comes before.
            state: to go on from.
            options: of the model's ``generate``.
        """
        written = (ids.shape[1] - 1) // self.segment * self.segment
        if written > 0:
            state = self(ids[:, :written], state)[1]
        with self.memory.reading(self.model, self._embedded(ids[:, written:]), state) as x_BND:
            seen = torch.ones(x_BND.shape[:2], dtype=torch.long, device=x_BND.device)
            new: Tensor = self.model.generate(inputs_embeds=x_BND, attention_mask=seen, **options)  # type: ignore[operator]
        return new

    def detach(self, state: Any) -> Any:
        """The same state, through which no gradient goes."""
        if state is None:
            return None
        return self.memory.unpack({name: tensor.detach() for name, tensor in self.memory.pack(state).items()})

    def save(self, path: str | Path, state: Any) -> None:
        """Write a state to one safetensors file, bit for bit."""
        from safetensors.torch import save_file

        tensors = {} if state is None else self.memory.pack(state)
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
            path,
            metadata={"kind": self.memory.kind},
        )

    def load(self, path: str | Path) -> Any:
        """The state that ``save`` wrote, on the model's device; a ValueError if it is another memory's."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("kind")
                tensors = {name: file.get_tensor(name).to(self.model.device) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"Segments: {path} is no safetensors file ({error})") from error
        if found != self.memory.kind:
            raise ValueError(f"Segments: {path} holds the state of {found}, this is {self.memory.kind}")
        return self.memory.unpack(tensors) if tensors else None

    def _through(self, step: Step, pieces: Sequence[Any], state: Any) -> tuple[list[Any], Any]:
        """All segments one after another, with gradients as far and as they are asked for."""
        reach = self.truncate or len(pieces)
        outs: list[Any] = []
        while len(outs) < len(pieces):
            left = len(pieces) - len(outs)
            some = pieces[len(outs) :][: left % reach or reach]
            state = state if self.truncate is None else self.detach(state)
            if self.replay:
                more, state = replay(step, some, state, self.parameters())
                outs += more
                continue
            for piece in some:
                out, state = step(piece, state)
                outs.append(out)
        return outs, state

    def _embedded(self, ids: Tensor) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] == 0 or ids.is_floating_point():
            raise ValueError(
                f"Segments: needs token ids (B, N) with N of at least 1, got {tuple(ids.shape)} {ids.dtype}"
            )
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded


def new_memory_tokens(model: PreTrainedModel, tokens: int) -> nn.Parameter:
    """Learnt embeddings (tokens, D), drawn as large as those of the model's words."""
    if tokens < 1:
        raise ValueError(f"memory tokens: at least one is needed, got {tokens}")
    words: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    return nn.Parameter(torch.randn(tokens, words.shape[1]).to(words) * words.detach().std())
