"""One's own way to look at an encoder's states inside the decoder of a transformers model, in place of its own.

B batch, H heads, N queries, D width of the encoder's states, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Look = Callable[..., Tensor]


class _Family(NamedTuple):
    """Names of the four projections, and how many things the module returns."""

    query: str
    key: str
    value: str
    out: str
    returns: int


_BART = _Family("q_proj", "k_proj", "v_proj", "out_proj", 2)
_T5 = _Family("q", "k", "v", "o", 3)
_FAMILIES = {f"{name}Attention": _BART for name in ("Bart", "MBart", "Pegasus", "Marian", "PLBart", "M2M100")}
_FAMILIES |= {f"{name}Attention": _T5 for name in ("T5", "MT5")}
_NAMES = ("encoder_attn", "EncDecAttention")


def use_cross_attention(
    model: PreTrainedModel, look: Look, *, layers: Collection[int] | None = None
) -> AttachedCrossAttention:
    """Make the decoder of a model look at an encoder's states by ``look``, until ``restore`` or the end of a ``with``.

    A score of a head is q . (W_k h + b_k) = (W_k^T q) . h + q . b_k, where the last term is the same for all states h
    and falls out of the softmax; and a mean of values is W_v mean(h) + b_v. So ``look(u, scale=..., layer=...)`` is
    given u = W_k^T q (B, H, N, D), which meets the bare states, and returns for each a mean of states (B, H, N, D)
    weighted by softmax(scale u . h), of whichever states it looks at; projections, heads and biases are seen to here.

    The module that attended is replaced by one with the same weights under the same names; caches are not touched:
    such a layer puts nothing into them.

    Args:
        model: an encoder-decoder of the family of BART (also mBART, Pegasus, Marian, PLBart, M2M100) or T5 (also MT5).
        look: the attention.
        layers: those of the decoder that use it; all of them when left out.

    Raises:
        ValueError: a model without cross-attention, or of another family; no such layer; when it runs: a model that
            trains, or an output of another shape.

    Reference: Bertsch et al., Unlimiformer, arXiv 2305.01625.
    """
    return AttachedCrossAttention(model, look, layers)


class AttachedCrossAttention:
    """A model that looks at its encoder by another function; a context manager that restores it."""

    def __init__(self, model: PreTrainedModel, look: Look, layers: Collection[int] | None) -> None:
        found = _cross_attentions(model)
        if layers is not None and (strange := sorted(set(layers) - set(range(len(found))))):
            raise ValueError(
                f"use_cross_attention: there is no layer {strange[0]}; the decoder has {list(range(len(found)))}"
            )
        self._before = [place for layer, place in enumerate(found) if layers is None or layer in layers]
        for layer, (parent, name, attention) in enumerate(found):
            if layers is None or layer in layers:
                setattr(parent, name, _Looks(attention, look, layer))

    def restore(self) -> None:
        """Give the decoder the attention that it had."""
        for parent, name, attention in self._before:
            setattr(parent, name, attention)

    def __enter__(self) -> AttachedCrossAttention:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


class _Looks(nn.Module):
    """Stands where a cross-attention stood, with its weights under their names."""

    def __init__(self, attention: Any, look: Look, layer: int) -> None:
        super().__init__()
        self._family, self._look, self._layer = _FAMILIES[type(attention).__name__], look, layer
        self._scale = float(attention.scaling)
        for name, part in attention.named_children():
            self.add_module(name, part)
        heads = attention.num_heads if self._family is _BART else attention.n_heads
        self._heads = int(heads)
        self.training = attention.training

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor | None, ...]:
        """What the decoder's layer expects: the output, and nothing for biases of positions and weights."""
        if self.training:
            raise ValueError("use_cross_attention: looking up serves a model that is trained; call model.eval()")
        query, key, value, out = (getattr(self, name) for name in self._family[:4])
        q_BHNd = query(hidden_states).unflatten(-1, (self._heads, -1)).transpose(1, 2)
        wide_HdD, values_HdD = (part.weight.unflatten(0, (self._heads, -1)) for part in (key, value))
        u_BHND = q_BHNd @ wide_HdD
        seen_BHND = self._look(u_BHND, scale=self._scale, layer=self._layer)
        if seen_BHND.shape != u_BHND.shape:
            raise ValueError(
                f"use_cross_attention: must return a mean of states (B, H, N, D) = {tuple(u_BHND.shape)}, "
                f"got {tuple(seen_BHND.shape)}"
            )
        y = (seen_BHND @ values_HdD.mT).transpose(1, 2).flatten(2)
        y = out(y if value.bias is None else y + value.bias)
        return (y, *[None] * (self._family.returns - 1))


def _cross_attentions(model: Any) -> list[tuple[nn.Module, str, nn.Module]]:
    """Where each layer of the decoder holds the attention to the encoder: its owner, its name there, itself."""
    places = [
        (parent, name, getattr(parent, name))
        for parent in model.modules()
        for name in _NAMES
        if isinstance(getattr(parent, name, None), nn.Module)
    ]
    if not places:
        raise ValueError(
            f"use_cross_attention: {type(model).__name__} has no attention from a decoder to an encoder; give an "
            "encoder-decoder such as BART or T5"
        )
    strange = sorted({type(attention).__name__ for *_, attention in places} - set(_FAMILIES))
    if strange:
        raise ValueError(
            f"use_cross_attention: {strange[0]} is of no family that is known here, nor is one that is replaced "
            f"already; known are {', '.join(sorted(_FAMILIES))}"
        )
    return places
