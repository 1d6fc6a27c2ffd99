"""An associative memory around every layer of a decoder: read before the layer, written after it.

B batch, N tokens, M memory tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seefar.mixers.associative import AssociativeMemory, AssociativeState, WriteRule
from seefar.mixers.segments import new_memory_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LayerStates = tuple[AssociativeState, ...]
"""One state for each layer."""


class LayerMemory(nn.Module):
    """What ``Segments`` carries in ARMT: one associative memory a layer, written by a few memory tokens.

    A segment is [its tokens; M memory tokens], learnt embeddings that are the same for every segment. Around layer l

        h <- h + read_l(h),    h <- layer_l(h),    write_l(h of the M memory tokens),

    all M at once; the first segment of a stream finds nothing. Gradients pass through the states of all segments.
    Values start at zero, so that at first each segment comes out as the decoder alone gives it. Layers are reached
    through forward hooks for as long as a segment runs.

    A stream's state holds 2 nu width (D + 1) numbers a layer, however long it is.

    Args:
        model: the decoder that ``Segments`` is given.
        tokens: M.
        width: of keys and queries before their features.
        nu: shifts of DPFP.
        rule: how the memories are written and read.

    Raises:
        ValueError: the layers of the decoder cannot be told from its other lists of modules.

    Reference: Rodkin et al., arXiv 2407.04841. Differs: memory tokens always take the positions after the segment;
    where positions are learnt its code adds new ones for them.
    """

    def __init__(
        self, model: PreTrainedModel, tokens: int = 4, *, width: int = 64, nu: int = 3, rule: WriteRule | None = None
    ) -> None:
        super().__init__()
        self.at = layers_name(model)
        self.tokens = new_memory_tokens(model, tokens)
        dim, layers = self.tokens.shape[1], model.base_model.get_submodule(self.at)
        memories = [AssociativeMemory(dim, width, nu=nu, rule=rule).to(self.tokens) for _ in layers.children()]
        self.memories = nn.ModuleList(memories)
        self.places = tokens
        self.kind = f"LayerMemory({len(memories)} layers, {dim=}, {width=}, {nu=}, {rule or WriteRule()})"

    def run(self, model: PreTrainedModel, x_BND: Tensor, state: LayerStates | None) -> tuple[Tensor, LayerStates]:
        """Logits of one embedded segment, and the states after it was written."""
        x_BND = torch.cat([x_BND, self.tokens.expand(len(x_BND), -1, -1)], 1)
        with self._around_layers(model, state, self.places) as visits:
            logits: Tensor = model(inputs_embeds=x_BND, use_cache=False).logits[:, : -self.places]
        return logits, tuple(visit.state for visit in visits if visit.state is not None)

    @contextmanager
    def reading(self, model: PreTrainedModel, x_BND: Tensor, state: LayerStates | None) -> Iterator[Tensor]:
        """While it lasts every layer of the model reads its memory and writes nothing."""
        with self._around_layers(model, state, 0):
            yield x_BND

    def pack(self, state: LayerStates) -> dict[str, Tensor]:
        """The tensors of the states by name."""
        return {f"{name}.{i}": tensor for i, one in enumerate(state) for name, tensor in one._asdict().items()}

    def unpack(self, tensors: Mapping[str, Tensor]) -> LayerStates:
        """The states of these tensors."""
        names = AssociativeState._fields
        return tuple(AssociativeState(*(tensors[f"{name}.{i}"] for name in names)) for i in range(len(self.memories)))

    @contextmanager
    def _around_layers(self, model: PreTrainedModel, state: LayerStates | None, writes: int) -> Iterator[list[_Visit]]:
        visits, handles = [], []
        try:
            for i, layer in enumerate(model.base_model.get_submodule(self.at).children()):
                visits.append(_Visit(self.memories[i], None if state is None else state[i], writes))
                handles.append(layer.register_forward_pre_hook(visits[i].before, with_kwargs=True))
                handles.append(layer.register_forward_hook(visits[i].after))
            yield visits
        finally:
            for handle in handles:
                handle.remove()


class _Visit:
    """One segment passing one layer: the memory is read before it and its last ``writes`` tokens are written after."""

    def __init__(self, memory: nn.Module, state: AssociativeState | None, writes: int) -> None:
        assert isinstance(memory, AssociativeMemory)
        self.memory, self.state, self.writes = memory, state, writes

    def before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.state is None:
            return None
        h_BND = args[0] if args else kwargs["hidden_states"]
        h_BND = h_BND + self.memory.read(h_BND, self.state)
        return ((h_BND, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": h_BND})

    def after(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.writes:
            h_BND = output if isinstance(output, Tensor) else output[0]
            self.state = self.memory.write(h_BND[:, -self.writes :], self.state)


def layers_name(model: PreTrainedModel) -> str:
    """Where in ``model.base_model`` its column of layers is."""
    depth = model.config.get_text_config().num_hidden_layers
    lists = {name: len(m) for name, m in model.base_model.named_modules() if isinstance(m, nn.ModuleList)}
    found = [name for name, size in lists.items() if size == depth]
    if len(found) != 1:
        raise ValueError(
            f"LayerMemory: {type(model.base_model).__name__} should have one list of {depth} layers, it has {lists}; "
            "use a decoder-only model"
        )
    return found[0]
