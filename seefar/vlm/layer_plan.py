"""Fewer and fewer visual tokens from layer to layer of a decoder of transformers; nothing is patched.

B batch, L tokens of the prompt, N visual ones among them, n tokens left at a layer, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seefar.compress.pagerank import attention_pagerank

Importance = Callable[[Tensor], Tensor]
"""``importance(weights)`` turns (B, H, n, n) attention weights into (B, n) scores, higher for what matters more."""


def linear_rho(layers: int, first: int, last: int) -> tuple[float, ...]:
    """The schedule of AIM (arXiv 2412.03248): all tokens before layer ``first``, none after layer ``last``.

    rho_l = 1 for l < first,    1 - (l - first + 1) / (last - first + 1) from first to last,    0 after it

    It published 14 and 21 of 28 layers: 0.875, 0.75 ... 0.

    Raises:
        ValueError: not 0 <= first <= last < layers.
    """
    if not 0 <= first <= last < layers:
        raise ValueError(f"linear_rho: wants 0 <= first <= last < layers, got {first}, {last} and {layers} layers")
    return tuple(1 - min(max(layer - first + 1, 0) / (last - first + 1), 1) for layer in range(layers))


def kept_counts(visual: int, text: int, rho: Sequence[float]) -> list[int]:
    """Tokens that each layer sees: all at the first, then text + int(visual * rho_l) at layer l + 1.

    Raises:
        ValueError: a count is negative, there is no layer, a share is outside [0, 1] or rises with depth.
    """
    if visual < 0 or text < 0:
        raise ValueError(f"kept_counts: counts must be at least 0, got {visual} visual and {text} text tokens")
    if not rho or any(not 0 <= share <= 1 for share in rho):
        raise ValueError(f"LayerPlan: rho must be one share in [0, 1] for each layer, got {list(rho)}")
    if any(after > before for before, after in pairwise(rho)):
        raise ValueError(f"LayerPlan: rho must not rise with depth, what is gone cannot come back; got {list(rho)}")
    kept = [int(visual * share + 1e-9) for share in rho[:-1]]  # 10 * (1 - 0.1 - 0.2) is a hair below 7
    return [text + count for count in (visual, *kept)]


class LayerPlan(AbstractContextManager["LayerPlan"]):
    """While it is open, prefill drops the least important visual tokens after each layer, by a schedule.

    After layer l the best int(N * rho_l) visual tokens go on to layer l + 1, by the attention weights of layer l over
    the tokens that are still there; text always goes on, and what is gone stays gone. Sequences and the cache really
    get shorter; each token keeps its position id. Decoding uses each layer's own cache. What a dropped token last was
    stands in its place in the model's output, so that lengths and the places of logits stay as they are.

    Works by hooks on the decoder layers and on their attention, which are gone when it is closed::

        layers = model.base_model.language_model.layers
        with LayerPlan(layers, prompt.slots, linear_rho(28, 14, 21)):
            model.generate(**prompt.inputs())

    Load the model with ``attn_implementation="eager"``: the others hide their weights. The last share of rho has no
    layer to act on and is not used. ``kept`` holds the (B, n) places in the prompt that each layer saw, after a
    prefill.

    Args:
        layers: of the decoder.
        slots: (N,) places of the visual tokens in the prompt, or (B, N) where rows differ.
        rho: a share for each layer, not rising; a layer's is what is left after it. All 1 changes nothing and works
            with every attention.
        importance: of a token, by attention weights.
        shorten: False hides dropped tokens behind the mask and computes them all the same, as the reference code does.
            The answers are equal; nothing is saved.

    Raises:
        ValueError: rho rises, leaves [0, 1] or does not fit the layers; a slot is named twice or lies outside the
            prompt; the attention weights are hidden; rows of a batch are padded; the prompt comes in pieces; the cache
            slides or has a fixed size.

    Reference: Zhong et al., AIM, arXiv 2412.03248.
    Differs: the walk of PageRank begins at the tokens that are still there, not at dropped ones too.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module] | nn.ModuleList,
        slots: Tensor,
        rho: Sequence[float],
        *,
        importance: Importance = attention_pagerank,
        shorten: bool = True,
    ) -> None:
        if len(rho) != len(layers):
            raise ValueError(f"LayerPlan: rho must have one share for each of {len(layers)} layers, got {len(rho)}")
        slots = torch.atleast_2d(slots).sort(1).values
        if slots.ndim != 2 or (slots.diff(dim=1) == 0).any() or (slots < 0).any():
            raise ValueError("LayerPlan: slots must be (N,) or (B, N) places in the prompt, none twice, none negative")
        if not all(hasattr(layer, "self_attn") for layer in layers):
            raise ValueError("LayerPlan: each layer must have a self_attn; pass the layers of the language model")
        kept_counts(slots.shape[1], 0, rho)
        self.slots, self.rho, self.importance, self.shorten = slots, tuple(rho), importance, shorten
        self.kept: list[Tensor] = []
        self._length, self._past = 0, 0
        self._counts: list[int] = []
        self._visual = self._whole = self._inside = torch.empty(0)
        self._handles = []
        for at, layer in enumerate(layers):
            before, heard = partial(self._before, at), partial(self._heard, at)
            self._handles += [
                layer.register_forward_pre_hook(before, with_kwargs=True),
                layer.get_submodule("self_attn").register_forward_hook(heard),
            ]
        self._handles.append(layers[len(layers) - 1].register_forward_hook(self._restore))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, hidden: Tensor, cache: Any) -> None:
        """Called at the first layer: is this a prefill, and of what?"""
        self._past = 0 if cache is None else int(cache.get_seq_length())
        if self._past:
            if not self.kept or self._past < self._length:
                raise ValueError("LayerPlan: the cache was filled before; open the plan first and prefill inside it")
            return
        if cache is not None and any(getattr(layer, "is_sliding", False) for layer in cache.layers):
            raise ValueError("LayerPlan: a sliding cache forgets by position; use a model of full attention only")
        B, L = hidden.shape[:2]
        slots = self.slots.to(hidden.device)
        if slots.shape[0] not in (1, B) or (slots.numel() and int(slots.max()) >= L):
            raise ValueError(
                f"LayerPlan: slots {tuple(slots.shape)} up to {int(slots.max())} do not lie in a prompt of {B} x {L} "
                "tokens; prefill the whole prompt in one call"
            )
        self._length = L
        self._visual = torch.zeros(B, L, dtype=torch.bool, device=hidden.device).scatter_(1, slots.expand(B, -1), True)
        self._counts = kept_counts(slots.shape[1], L - slots.shape[1], self.rho)
        self.kept = [torch.arange(L, device=hidden.device).expand(B, L)]

    def _before(
        self, at: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if at == 0:
            self._begin(hidden, kwargs.get("past_key_values"))
        mask: Any = kwargs.get("attention_mask")
        if at == 0 and any(count < self._length for count in self._counts):
            self._check_mask(mask, self._past + hidden.shape[1])
        if self._counts[at] == self._length:
            return None
        kept, kwargs = self.kept[at], dict(kwargs)
        if self._past or not self.shorten:
            new = torch.arange(self._length, self._past + hidden.shape[1], device=kept.device)
            kwargs["attention_mask"] = self._narrow(mask, torch.cat([kept, new.expand(len(kept), -1)], 1))
            return args, kwargs
        if self._counts[at] < self._counts[at - 1]:
            before = self.kept[at - 1][..., None].expand_as(hidden)
            whole = self._counts[at - 1] == self._length
            self._whole = hidden if whole else self._whole.scatter(1, before, hidden)
            hidden = torch.take_along_dim(hidden, self._inside[..., None], 1)
        kwargs["attention_mask"] = torch.take_along_dim(self._narrow(mask, kept), kept[:, None, :, None], 2)
        kwargs["position_embeddings"] = tuple(
            torch.take_along_dim(part, kept[..., None], -2) for part in kwargs["position_embeddings"]
        )
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = torch.take_along_dim(kwargs["position_ids"], kept, -1)
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def _narrow(self, mask: Tensor, keys: Tensor) -> Tensor:
        """The mask for these keys only: its other columns cut off, or hidden where nothing is shortened."""
        if self.shorten:
            return torch.take_along_dim(mask, keys[:, None, None], 3)
        gone = torch.ones(len(keys), mask.shape[3], dtype=torch.bool, device=mask.device).scatter_(1, keys, False)
        return mask.masked_fill(gone[:, None, None], torch.finfo(mask.dtype).min)

    def _check_mask(self, mask: Any, keys: int) -> None:
        if not isinstance(mask, Tensor) or mask.ndim != 4 or not mask.is_floating_point():
            raise ValueError(HIDDEN)
        if mask.shape[3] != keys:
            raise ValueError(
                f"LayerPlan: the mask has {mask.shape[3]} keys for {keys} tokens; use transformers' DynamicCache"
            )
        if (mask[:, :, -1] < 0).any():
            raise ValueError(
                "LayerPlan: tokens are hidden from the last one, so rows are padded or the attention slides; "
                "give prompts of unequal length one by one"
            )

    def _heard(self, at: int, attention: nn.Module, given: Any, said: Any) -> None:
        """After the attention of a layer in a prefill: who goes on to the next one."""
        if self._past or at + 1 == len(self._counts):
            return
        kept, count = self.kept[at], self._counts[at + 1]
        if count < self._counts[at]:
            weights = said[1] if isinstance(said, tuple) and len(said) > 1 else None
            if weights is None:
                raise ValueError(HIDDEN)
            if not self.shorten:
                weights = torch.take_along_dim(weights, kept[:, None, :, None], 2)
                weights = torch.take_along_dim(weights, kept[:, None, None], 3)
            score = self.importance(weights.detach()).masked_fill(~self._visual.gather(1, kept), torch.inf)
            self._inside = score.argsort(dim=1, descending=True, stable=True)[:, :count].sort(1).values
            kept = kept.gather(1, self._inside)
        self.kept.append(kept)

    def _restore(self, layer: nn.Module, given: Any, said: Any) -> Any:
        hidden: Tensor = said[0] if isinstance(said, tuple) else said
        if self._past or hidden.shape[1] == self._length:
            return None
        whole = self._whole.scatter(1, self.kept[-1][..., None].expand_as(hidden), hidden)
        self._whole = torch.empty(0)
        return (whole, *said[1:]) if isinstance(said, tuple) else whole


HIDDEN = (
    'LayerPlan: the model hides its attention weights; load it with attn_implementation="eager", '
    'or call model.set_attn_implementation("eager")'
)
