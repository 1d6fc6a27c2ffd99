"""Attention rollout: which input tokens reach an output token through all layers of attention.

B batch, N tokens, H heads, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seefar.mixers.softmax import Attention
from seefar.ops.attention import attention


@torch.no_grad()
def attention_maps(model: nn.Module, call: Callable[[], Any]) -> list[Tensor]:
    """The weights (B, H, N, N) of every ``Attention`` that ``call()`` runs inside ``model``, in the order they ran.

    They are worked out from what went into each layer, so that the layers themselves may use any backend.

    Raises:
        ValueError: the model has no ``Attention``, or the call ran none.
    """
    found: list[Tensor] = []
    layers = [layer for layer in model.modules() if isinstance(layer, Attention)]
    hooks = [layer.register_forward_pre_hook(partial(_keep, found)) for layer in layers]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(f"attention_maps: the call ran none of {len(layers)} layers of Attention in {type(model)}")
    return found


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """(B, N, N) how much of each input token, by column, each output token holds, by row; rows sum to 1.

    R_0 = 1,    R_l = A_l R_{l-1},    A_l = (max over heads of W_l + 1), each row divided by its sum

    Args:
        weights: of each layer, first to last, (B, H, N, N).

    Reference: Abnar and Zuidema, arXiv 2005.00928; the largest of the heads as in V1T, Li et al., arXiv 2302.03023.
    """
    if not weights:
        raise ValueError("rollout: needs the weights of a layer or more, got none")
    joint = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    for layer in weights:
        step = layer.amax(1) + torch.eye(layer.shape[-1], dtype=layer.dtype, device=layer.device)
        joint = step / step.sum(-1, keepdim=True) @ joint
    return joint


def centre_of_mass(maps: Tensor) -> Tensor:
    """(B, 2) x y of the centres of maps (B, h, w), each less its smallest entry, in [-1, 1] from border cell to border
    cell."""
    if maps.ndim != 3:
        raise ValueError(f"centre_of_mass: maps must be (B, h, w), got {tuple(maps.shape)}")
    mass = maps - maps.amin((1, 2), keepdim=True)
    mass = mass / mass.sum((1, 2), keepdim=True).clamp(min=1e-30)
    y, x = (torch.linspace(-1, 1, side, dtype=maps.dtype, device=maps.device) for side in maps.shape[1:])
    return torch.stack([(mass.sum(1) * x).sum(1), (mass.sum(2) * y).sum(1)], -1)


def _keep(found: list[Tensor], layer: Attention, inputs: tuple[Any, ...]) -> None:
    if len(inputs) > 1 and inputs[1] is not None:
        raise ValueError("attention_maps: a layer went on from a state; give it all tokens in one call")
    q, k = (
        proj(inputs[0]).unflatten(-1, (heads, -1)).transpose(1, 2)
        for proj, heads in ((layer.q_proj, layer.heads), (layer.k_proj, layer.kv_heads))
    )
    q, k = layer.q_norm(q), layer.k_norm(k)
    if layer.rope is not None:
        places = torch.arange(inputs[0].shape[1], device=q.device)
        q, k = layer.rope(q, places), layer.rope(k, places)
    # attention to the columns of the identity gives the weights themselves, under the layer's own rules
    pick = torch.eye(k.shape[2], dtype=k.dtype, device=k.device).expand(*k.shape[:2], -1, -1)
    found.append(attention(q, k, pick, causal=layer.causal, window=layer.window, backend="reference"))
