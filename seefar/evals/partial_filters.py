"""What convolutions lose when taps or frequencies of their filters are left out, and what transforms by products cost.

N tokens, D channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seefar.evals.language import loss_of
from seefar.mixers.hyena import Hyena, ImplicitConv
from seefar.mixers.partial_conv import PartialConv
from seefar.ops.fft_conv import fft_conv


def with_filters(model: nn.Module, **options: Any) -> nn.Module:
    """A copy of a model of ``Hyena`` layers whose filters run by ``PartialConv`` with these options."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, Hyena):
            implicit = layer.conv.implicit if isinstance(layer.conv, PartialConv) else layer.conv
            if not isinstance(implicit, ImplicitConv):
                raise ValueError(f"with_filters: needs implicit filters, got {type(implicit).__name__}")
            layer.conv = PartialConv(implicit, **options)
    return model


def measured_with(
    ways: Mapping[str, Mapping[str, Any] | None], texts: Callable[..., Tensor]
) -> Callable[[nn.Module, int, tuple[str, str]], float]:
    """For ``evals.language.trained`` at points (what, way): "nats" of a unit of ``texts(seed=...)``, or "ahead".

    Args:
        ways: options of ``with_filters`` by name; None leaves a model as it was trained.
        texts: of a seed, which is given by name.
    """

    def measure(model: nn.Module, seed: int, point: tuple[str, str]) -> float:
        what, options = point[0], ways[point[1]]
        model = model if options is None else with_filters(model, **options)
        return {"nats": loss_of, "ahead": reaches_ahead}[what](model, texts(seed=seed))

    return measure


def reaches_ahead(model: nn.Module, ids: Tensor) -> float:
    """How far the logits of the first half move when the second half becomes another text, over their own spread."""
    half = ids.shape[1] // 2
    other = torch.cat([ids[:, :half], ids.roll(1, 0)[:, half:]], 1)
    with torch.inference_mode():
        before, after = (model(text)[0][:, :half] for text in (ids, other))
    return float((after - before).norm() / (before - before.mean()).norm())


def convolving(
    backend: str,
    *,
    rows: int = 1,
    channels: int = 64,
    gated: bool = True,
    dtype: torch.dtype = torch.float32,
    **how: Any,
) -> Callable[[int], Callable[[], Tensor]]:
    """``prepare(length) -> call``: one pass over random inputs with as many taps, two gates around it if ``gated``."""

    def prepare(length: int) -> Callable[[], Tensor]:
        draw = torch.Generator().manual_seed(length)
        u, pre, post = torch.randn(3, rows, length, channels, generator=draw).to(dtype).unbind()
        k = (torch.randn(length, channels, generator=draw) / math.sqrt(length)).to(dtype)
        gates = (pre, post) if gated else (None, None)
        return torch.no_grad()(lambda: fft_conv(u, k, pre_gate=gates[0], post_gate=gates[1], backend=backend, **how))

    return prepare


def worst_error(factors: Sequence[Sequence[int]], *, dtype: torch.dtype, channels: int = 4) -> float:
    """The largest error of products by each of the factors against FFTs in float64, outputs and both gradients.

    Each over the norm of what it should be; half precision is compared on the same rounded inputs.
    """
    worst = 0.0
    for some in factors:
        length = math.prod(some) // 2
        draw = torch.Generator().manual_seed(length)
        u, dy = (x.to(dtype) for x in torch.randn(2, 1, length, channels, generator=draw, dtype=torch.float64))
        k = (torch.randn(length, channels, generator=draw, dtype=torch.float64) / math.sqrt(length)).to(dtype)
        found = _passes(u, k, dy, factors=tuple(some), backend="monarch")
        wanted = _passes(u.double(), k.double(), dy.double(), backend="fft")
        worst = max(worst, *(float((a.double() - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)))
    return worst


def _passes(u: Tensor, k: Tensor, dy: Tensor, **how: Any) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in (u, k)]
    y = fft_conv(*leaves, **how)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]
