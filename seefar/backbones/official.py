"""Weights that others released, into networks made of our parts."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seefar.backbones.plain import Plain


def load_official(model: nn.Module, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Copy a released state dict into ``model``, every weight exactly once.

    A convolution whose stride is its kernel fills the linear layer that does the same to a flattened patch.

    Args:
        model: what is filled.
        weights: by their official names.
        names: official name to ours, as regular expressions and replacements (``re.sub``), each applied in turn.

    Raises:
        ValueError: a weight is missing, left over, or of another shape; nothing is copied then.

    Example:
        >>> layer = nn.Linear(12, 5)
        >>> load_official(layer, nn.Conv2d(3, 5, 2, 2).state_dict(prefix="stem."), {r"^stem\\.": ""})
    """
    ours = model.state_dict()
    renamed: dict[str, Tensor] = {}
    for official, weight in weights.items():
        name = official
        for pattern, replacement in names.items():
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise ValueError(f"load_official: two weights are called {name!r} here, one of them {official!r} there")
        flat = name in ours and ours[name].ndim == 2 and weight.ndim == 4
        renamed[name] = weight.flatten(1) if flat else weight
    missing, extra = sorted(set(ours) - set(renamed)), sorted(set(renamed) - set(ours))
    if missing or extra:
        raise ValueError(
            f"load_official: the weights lack {_some(missing)} and have {_some(extra)} too many; "
            "build the network of the size and options that they were trained with"
        )
    unlike = [
        f"{name} {tuple(weight.shape)} for {tuple(ours[name].shape)}"
        for name, weight in renamed.items()
        if weight.shape != ours[name].shape
    ]
    if unlike:
        raise ValueError(f"load_official: weights of another size: {_some(unlike)}; build the network of their size")
    model.load_state_dict(renamed)


def class_apart(weights: Mapping[str, Tensor], model: Plain, *, token: str, table: str) -> dict[str, Tensor]:
    """Released weights in which the class token's place is no longer a row of the table of places.

    Released columns keep one table (1, N + 1, D), the class token's row where the token stands; ``Plain`` keeps
    ``cls_token``, ``cls_place`` and ``place.table``, and those are the names here.

    Args:
        weights: by their official names.
        model: says where the class token stands and how many patches there are.
        token: official name of the class token.
        table: official name of the table.

    Raises:
        ValueError: there is no such weight, or the table is that of another number of patches.
    """
    if lacking := {token, table} - set(weights):
        raise ValueError(f"class_apart: the weights have no {', '.join(sorted(lacking))}")
    found = dict(weights)
    places, patches = found.pop(table)[0], len(model.place.table)
    if len(places) != patches + 1:
        raise ValueError(
            f"class_apart: {table} holds places for {len(places) - 1} patches, the network has "
            f"{patches} {model.place.grid}; build it for the picture size of the weights, other sizes may come later"
        )
    at = model.class_index(patches)
    found["place.table"] = torch.cat([places[:at], places[at + 1 :]])
    return found | {"cls_place": places[at], "cls_token": found.pop(token).flatten()}


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4]) or "none"
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
