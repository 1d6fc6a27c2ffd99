"""A model of transformers whose layers look at its embeddings; its cache keeps one vector a token for all of them.

B batch, M tokens up to now, D channels, K key-value heads, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from seefar.hf.initial_cache import InitialCache

Project = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(initial states (B, M, D), their places (B, M)) -> keys and values (B, K, M, d) of a layer."""


def attend_to_initial(model: PreTrainedModel) -> AttachedInitial:
    """Make all layers take keys and values from what enters the first one, until ``restore`` or the end of a ``with``.

    Weights stay as they are, so a model trained with self-attention has to be tuned before it says anything sensible.
    Training needs nothing more. While texts are written, ``InitialCache`` keeps one vector of D a token, from which
    each layer makes its keys and values anew; a plain call gets one by itself, ``generate`` wants it as below.

    Args:
        model: a decoder with rotary positions, such as Llama, Mistral or Qwen2.

    Raises:
        TypeError: no model of transformers, or one whose layers are built otherwise.
        ValueError: when the model runs: a cache of another kind, or one that another model filled.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(
        ...     vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        ... )
        >>> model, ids = LlamaForCausalLM(config).eval(), torch.arange(6)[None]
        >>> with attend_to_initial(model) as attached:
        ...     cache = attached.read(ids)  # the prompt but for its last token; no layer runs
        ...     words = model.generate(ids, past_key_values=cache, max_new_tokens=3, do_sample=False, pad_token_id=0)
        >>> words.shape, cache.initial.shape
        (torch.Size([1, 9]), torch.Size([1, 8, 8]))

    Reference: Eisner, InAttention, arXiv 2410.07063.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"attend_to_initial: needs a model of transformers, got {type(model).__name__}")
    base = model.base_model
    layers = getattr(base, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(base, "rotary_emb") or not all(map(_fits, layers)):
        raise TypeError(
            f"attend_to_initial: the layers of {type(model).__name__} are not those of Llama (input_layernorm, then "
            "self_attn with q_proj, k_proj and v_proj and rotary positions, no norms of keys); use Llama or Qwen2"
        )
    return AttachedInitial(model)


class AttachedInitial:
    """A model whose layers look at its embeddings, as ``attend_to_initial`` gives it; a context manager."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, base = model, model.base_model
        layers = list(base.layers)  # type: ignore[arg-type]
        self._projects = [partial(_project, base, layer) for layer in layers]
        self._initial: Tensor | None = None
        self._handles = [
            base.register_forward_pre_hook(self._give_cache, with_kwargs=True),
            layers[0].register_forward_pre_hook(self._keep, with_kwargs=True),
        ]
        for layer in layers:
            for proj in (layer.self_attn.k_proj, layer.self_attn.v_proj):
                self._handles.append(proj.register_forward_pre_hook(partial(self._replace, layer.input_layernorm)))

    def cache(self) -> InitialCache:
        """An empty cache of this model, for ``past_key_values=``."""
        from seefar.hf.initial_cache import InitialCache

        return InitialCache(self._projects, owner=self)

    @torch.no_grad()
    def read(self, ids: Tensor) -> InitialCache:
        """A cache of all tokens of ids (B, N) but the last, for which no layer has to run."""
        if ids.ndim != 2 or ids.shape[1] < 1 or ids.is_floating_point():
            raise ValueError(f"attend_to_initial: needs token ids (B, N), got {tuple(ids.shape)} {ids.dtype}")
        cache, early = self.cache(), ids[:, :-1]
        if early.shape[1]:
            places = torch.arange(early.shape[1], device=ids.device)[None]
            cache.append(self._model.get_input_embeddings()(early), places)
        return cache

    def restore(self) -> None:
        """Give the model its own attention back; once is enough."""
        for handle in self._handles:
            handle.remove()
        self._initial = None

    def __enter__(self) -> AttachedInitial:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _give_cache(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from seefar.hf.initial_cache import InitialCache

        given, wanted = kwargs.get("past_key_values"), kwargs.get("use_cache")
        if given is None:
            wanted = self._model.config.use_cache if wanted is None else wanted
            return (args, kwargs | {"past_key_values": self.cache()}) if wanted else None
        if not isinstance(given, InitialCache) or given.owner is not self:
            kind = "one that another model filled" if isinstance(given, InitialCache) else type(given).__name__
            raise ValueError(
                f"attend_to_initial: the cache must be of this model and hold its initial states, got {kind}; pass "
                "past_key_values=attached.cache(), or attached.read(ids)"
            )
        return None

    def _keep(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._initial = args[0] if args else kwargs["hidden_states"]
        cache = kwargs.get("past_key_values")
        if cache is not None:
            cache.append(self._initial, kwargs["position_ids"])

    def _replace(self, norm: nn.Module, _: nn.Module, __: tuple[Any, ...]) -> tuple[Tensor]:
        return (norm(self._initial),)


def _fits(layer: nn.Module) -> bool:
    attend = getattr(layer, "self_attn", None)
    parts = [hasattr(attend, name) for name in ("q_proj", "k_proj", "v_proj", "head_dim")]
    return all(parts) and hasattr(layer, "input_layernorm") and not hasattr(attend, "k_norm")


def _project(base: Any, layer: Any, initial_BMD: Tensor, places_BM: Tensor) -> tuple[Tensor, Tensor]:
    normed, attend = layer.input_layernorm(initial_BMD), layer.self_attn
    # forward itself: a call would run the hook that puts the newest tokens in
    k_BKMd, v_BKMd = (
        proj.forward(normed).unflatten(-1, (-1, attend.head_dim)).transpose(1, 2)
        for proj in (attend.k_proj, attend.v_proj)
    )
    cos, sin = (part[:, None] for part in base.rotary_emb(initial_BMD, position_ids=places_BM))
    first, second = k_BKMd.chunk(2, -1)
    return k_BKMd * cos + torch.cat([-second, first], -1) * sin, v_BKMd
