"""One set of memory slots around a decoder: read before every layer, written from the last one.

B batch, N tokens, K slots, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from seefar.mixers.layer_memory import layers_name
from seefar.mixers.slots import SlotReader, SlotWriter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SlotState(NamedTuple):
    """The slots after the last segment."""

    m_BKD: Tensor


class SlotMemory(nn.Module):
    """What ``Segments`` carries in Memformer: K slots, which all tokens of a segment read and then rewrite.

    Before layer l:  h <- h + read_l(norm_l(h), M);    after the last:  M <- write(h behind the decoder's last norm, M)

    The slots are the same for all layers. Reading starts at zero, so that at first each segment comes out as the
    decoder alone gives it. A stream's state is K D numbers, however long it is. Layers are reached through forward
    hooks for as long as a segment runs.

    Args:
        model: the decoder that ``Segments`` is given.
        slots: K.
        heads: of reading and writing; None for as many as the decoder has.
        temperature: of writing.

    Raises:
        ValueError: the layers of the decoder cannot be told from its other lists of modules.

    Reference: Wu et al., Memformer, arXiv 2010.06891. Differs: a decoder reads its own segment, where the paper has an
    encoder for it and a decoder that sees only what that one made; memory is read before a layer, not between its
    attention and its MLP.
    """

    def __init__(
        self, model: PreTrainedModel, slots: int = 32, *, heads: int | None = None, temperature: float = 0.25
    ) -> None:
        super().__init__()
        self.at = layers_name(model)
        config, words = model.config.get_text_config(), model.get_input_embeddings().weight
        assert isinstance(words, Tensor)
        dim, heads = config.hidden_size, heads or config.num_attention_heads
        depth = config.num_hidden_layers
        self.norms = nn.ModuleList(nn.RMSNorm(dim, eps=1e-5) for _ in range(depth)).to(words)
        self.reads = nn.ModuleList(SlotReader(dim, heads) for _ in range(depth)).to(words)
        self.write = SlotWriter(dim, slots, heads=heads, temperature=temperature).to(words)
        self.places = 0
        self.kind = f"SlotMemory({slots} slots of {dim}, {depth} layers, {heads=}, {temperature=})"

    def run(self, model: PreTrainedModel, x_BND: Tensor, state: SlotState | None) -> tuple[Tensor, SlotState]:
        """Logits of one embedded segment, and the slots after it was written."""
        m_BKD, last = self._begin(x_BND, state), list[Tensor]()

        def keep(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            last.append(output[0])

        with self._read_by_layers(model, m_BKD) as handles:
            handles.callback(model.base_model.register_forward_hook(keep).remove)
            logits: Tensor = model(inputs_embeds=x_BND, use_cache=False).logits
        return logits, SlotState(self.write(last[0], m_BKD))

    @contextmanager
    def reading(self, model: PreTrainedModel, x_BND: Tensor, state: SlotState | None) -> Iterator[Tensor]:
        """While it lasts every layer of the model reads the slots and nothing is written."""
        with self._read_by_layers(model, self._begin(x_BND, state)):
            yield x_BND

    def pack(self, state: SlotState) -> dict[str, Tensor]:
        """The tensors of the state by name."""
        return state._asdict()

    def unpack(self, tensors: Mapping[str, Tensor]) -> SlotState:
        """The state of these tensors."""
        return SlotState(**tensors)

    def _begin(self, x_BND: Tensor, state: SlotState | None) -> Tensor:
        m_BKD = self.write.begin(len(x_BND)) if state is None else state.m_BKD
        if len(m_BKD) != len(x_BND):
            raise ValueError(
                f"SlotMemory: the state is of {len(m_BKD)} streams, got {len(x_BND)}; begin others with state=None"
            )
        return m_BKD

    @contextmanager
    def _read_by_layers(self, model: PreTrainedModel, m_BKD: Tensor) -> Iterator[ExitStack]:
        def before(i: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            h_BND = args[0] if args else kwargs["hidden_states"]
            h_BND = h_BND + self.reads[i](self.norms[i](h_BND), m_BKD)
            return ((h_BND, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": h_BND})

        with ExitStack() as handles:
            for i, layer in enumerate(model.base_model.get_submodule(self.at).children()):
                handles.callback(layer.register_forward_pre_hook(partial(before, i), with_kwargs=True).remove)
            yield handles
