"""One's own attention function inside a model of transformers, through the interface that transformers has for it.

B batch, H query heads, Hkv key heads, N queries, M keys, d width of a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seefar.ops.attention import attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "seefar"
"""Under this name transformers knows ``use_attention``; which function runs is decided by the layer that asks."""


def use_attention(
    model: PreTrainedModel, fn: Callable[..., Tensor], *, layers: Collection[int] | None = None
) -> AttachedAttention:
    """Make a model of transformers attend by ``fn``, until ``restore`` or the end of a ``with``.

    ``fn(q, k, v, causal=..., scale=...)`` is given queries (B, H, N, d) behind their rotary positions and the keys and
    values (B, Hkv, M, d) of the whole cache, not repeated for grouped heads; it returns (B, H, N, dv). With ``causal``,
    query i stands at key M - N + i and sees no key after it. ``seefar.ops.attention`` is such a function as it is. If
    ``fn`` has parameters of these names it is told more:

    - ``layer``: the number of the layer that asks;
    - ``allowed``: None, or (B, 1, N, M) bool, which pairs meet at all (padding, packed rows, windows of the model's
      own); ``causal`` is then False, since the mask says it. Without this parameter a row that needs a mask is refused.

    Weights, cache and ``generate`` stay as they are. Calls may be nested: the innermost function counts.

    Args:
        model: any whose attention goes through ``transformers.AttentionInterface``, or a part of one, such as the
            language model of a vision-language model.
        fn: the attention.
        layers: those that use it; the others attend exactly. All of them when left out.

    Raises:
        TypeError: no model of transformers, or one whose class does not take another attention.
        ValueError: there is no such layer; when the model runs: what ``fn`` cannot be told of (dropout, a bias of
            positions, capped scores, sink logits, a mask of numbers), or an output of another shape.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from seefar.ops.attention import attention
        >>> config = LlamaConfig(
        ...     vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        ...     num_key_value_heads=1,
        ... )
        >>> model, ids = LlamaForCausalLM(config).eval(), torch.arange(6)[None]
        >>> before = model(ids).logits
        >>> with use_attention(model, attention) as attached:
        ...     same = torch.allclose(model(ids).logits, before, atol=1e-5)
        >>> same, attached.asked
        (True, [0, 1])
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"use_attention: needs a model of transformers, got {type(model).__name__}")
    known = {layer for module in model.modules() if isinstance(layer := getattr(module, "layer_idx", None), int)}
    if layers is not None and (strange := sorted(set(layers) - known)):
        raise ValueError(f"use_attention: there is no layer {strange[0]}; {type(model).__name__} has {sorted(known)}")
    return AttachedAttention(model, fn, layers)


class AttachedAttention:
    """A model that attends by another function, as ``use_attention`` gives it; a context manager that restores it.

    Attributes:
        asked: numbers of the layers that have called the function so far. Empty after a run of the model means that
            nothing in it attends through transformers' interface.
    """

    def __init__(self, model: PreTrainedModel, fn: Callable[..., Tensor], layers: Collection[int] | None) -> None:
        self._model, self.fn = ref(model), fn  # what is attached to a model must not keep it alive
        self.layers = None if layers is None else frozenset(layers)
        self.asked: list[int] = []
        takes = inspect.signature(fn).parameters
        self._takes = {name for name in ("layer", "allowed") if name in takes}
        self._before = _implementation(model.config)
        self._outer = WeakKeyDictionary({m: _ATTACHED[m] for m in model.modules() if m in _ATTACHED})
        self._restored = False
        _register()
        model.set_attn_implementation(NAME)
        _ATTACHED.update(dict.fromkeys(model.modules(), self))
        refused = sorted({type(part).__name__ for part in _parts(model) if part.config._attn_implementation != NAME})
        if refused:
            self.restore()
            raise TypeError(
                f"use_attention: {', '.join(refused)} attends by code of its own, not through transformers' "
                "AttentionInterface, so nothing else can take its place; Llama, Qwen2, Mistral and most newer ones do"
            )

    def restore(self) -> None:
        """Give the model the attention that it had; once is enough.

        Raises:
            RuntimeError: one that was attached later is still there.
        """
        model = self._model()
        if self._restored or model is None:
            return
        mine = [module for module in model.modules() if module in _ATTACHED]
        if any(_ATTACHED[module] is not self for module in mine):
            raise RuntimeError(
                "use_attention: another function was attached later and is still there; restore it first"
            )
        self._restored = True
        for module in mine:
            del _ATTACHED[module]
        _ATTACHED.update(self._outer)
        model.set_attn_implementation(self._before)

    def __enter__(self) -> AttachedAttention:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def run(self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, **told: Any) -> Tensor:
        """(B, H, N, dv) for the layer that asks."""
        layer = getattr(module, "layer_idx", None)
        layer = layer if isinstance(layer, int) else 0
        if self.layers is not None and layer not in self.layers:
            return _exact(q, k, v, allowed=allowed, **told)
        if layer not in self.asked:
            self.asked.append(layer)
        if allowed is not None and "allowed" not in self._takes:
            raise ValueError(
                f"use_attention: layer {layer} needs a mask of {tuple(allowed.shape)}, and the function takes no "
                "`allowed`; give rows without padding, one at a time, a growing cache, and layers without a window"
            )
        more = {name: value for name, value in (("layer", layer), ("allowed", allowed)) if name in self._takes}
        o = self.fn(q, k, v, **told, **more)
        if o.shape != (wanted := (*q.shape[:3], v.shape[-1])):
            raise ValueError(f"use_attention: the function must return (B, H, N, dv) = {wanted}, got {tuple(o.shape)}")
        return o


_ATTACHED: WeakKeyDictionary[nn.Module, AttachedAttention] = WeakKeyDictionary()


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _forward)
    AttentionMaskInterface.register(NAME, _mask)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention; it wants (B, N, H, dv)."""
    attached = _ATTACHED.get(module)
    if attached is None:
        raise RuntimeError(
            f"use_attention: this {type(module).__name__} is of another model, a copy of the one that was given or one "
            "with the same config object; call use_attention on it too"
        )
    strange = [name for name in ("position_bias", "softcap", "s_aux") if more.get(name) is not None]
    if strange or dropout:
        what = strange[0] if strange else f"dropout={dropout}"
        raise ValueError(f"use_attention: {type(module).__name__} asks for {what}, of which a function is not told")
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        raise ValueError(f"use_attention: a mask must be bool, True where a pair meets, got {attention_mask.dtype}")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal) and attention_mask is None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    o = attached.run(module, query, key, value, attention_mask, causal=causal, scale=scale)
    return o.transpose(1, 2).contiguous(), None


def _mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = False,
    **more: Any,
) -> Tensor | None:
    """None where causality or nothing at all says everything, so that no N x M mask is made; else that of SDPA."""
    from transformers.masking_utils import sdpa_mask

    near = local_size is None or kv_length < local_size or (kv_length == local_size and kv_offset == 0)
    unpadded = attention_mask is None or bool(attention_mask[:, kv_offset : kv_offset + kv_length].all())
    aligned = allow_is_bidirectional_skip or q_offset + q_length == kv_offset + kv_length
    if near and unpadded and aligned and (allow_is_causal_skip or allow_is_bidirectional_skip):
        return None
    mask: Tensor | None = sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        attention_mask=attention_mask,
        local_size=local_size,
        allow_is_causal_skip=False,
        allow_is_bidirectional_skip=False,
        **more,
    )
    return mask


def _exact(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float, allowed: Tensor | None) -> Tensor:
    if allowed is None:
        return attention(q, k, v, causal=causal, scale=scale)
    return scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def _implementation(config: Any) -> Any:
    """What ``set_attn_implementation`` takes to bring back what a configuration says now."""
    parts = {name: part for name in config.sub_configs if (part := getattr(config, name, None)) is not None}
    own = config._attn_implementation
    return {"": own, **{name: _implementation(part) for name, part in parts.items()}} if parts else own


def _parts(model: PreTrainedModel) -> list[PreTrainedModel]:
    from transformers import PreTrainedModel

    return [module for module in model.modules() if isinstance(module, PreTrainedModel)]
