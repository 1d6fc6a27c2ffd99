"""Transforms by matrix products all the way: more arithmetic than the FFT, of the kind that matrix units are made for.

What is known to be zero is skipped: the padding behind a sequence or a short filter, outputs beyond its end, and
frequencies that are not kept. The backward keeps inputs alone and computes the rest again.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from seefar.ops.fft_conv.butterfly import inverse, times, transform
from seefar.ops.fft_conv.plan import Plan

HALF_TAPS = 512
"""Longest filter in float16, whose largest number is 65504: a spectrum is a sum over taps."""


def cannot_run(u: Tensor, k: Tensor, *_: Tensor | None) -> str | None:
    """Needs a floating dtype; float16 a filter whose spectrum cannot overflow."""
    if not u.is_floating_point():
        return f"needs a floating dtype, got {u.dtype}"
    if u.dtype == torch.float16 and len(k) > HALF_TAPS:
        return f"float16 may overflow with more than {HALF_TAPS} taps, got {len(k)}; call .bfloat16()"
    return None


def run(u: Tensor, k: Tensor, pre: Tensor | None, post: Tensor | None, plan: Plan) -> Tensor:
    """post * (k conv (pre * u)); any trailing axes are channels."""
    flat = [None if x is None else x.flatten(2) if x.ndim > 2 else x[..., None] for x in (u, pre, post)]
    taps = k.expand(len(k), *u.shape[2:]).flatten(1) if u.ndim > 2 else k[:, None]
    out: Tensor = _Monarch.apply(flat[0], taps, flat[1], flat[2], plan)
    return out.view(u.shape)


class _Monarch(torch.autograd.Function):
    """du = k correlated with post dy; dk = pre u correlated with it; both by the spectra's conjugates."""

    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, k: Tensor, pre: Tensor | None, post: Tensor | None, plan: Plan) -> Tensor:
        ctx.save_for_backward(u, k, pre, post)  # type: ignore[arg-type]
        ctx.plan = plan  # type: ignore[attr-defined]
        y = _filtered(u if pre is None else pre * u, _filter(k, plan), plan)
        return y if post is None else post * y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, None]:
        u, k, pre, post = ctx.saved_tensors  # type: ignore[attr-defined]
        plan: Plan = ctx.plan  # type: ignore[attr-defined]
        shape, spectrum = (plan.factors, plan.kept), _filter(k, plan)
        pieces = transform(_cut(u if pre is None else pre * u, plan), *shape, mean=True)
        dpost = None
        if post is not None:
            dpost = dy * _glued(inverse(_by_filter(pieces, spectrum), _reach(plan), *shape), len(u), plan)
            dy = dy * post
        slopes = transform(_spread(dy, plan), *shape, mean=True)
        du = inverse(_by_filter(slopes, spectrum, conjugate=True), _reach(plan), *shape)
        du = _added(du, len(u), plan)
        met = times(slopes * plan.size, pieces, conjugate=True)
        met = met.view(-1, *spectrum.shape).sum(0) * _weights(plan, dy)
        dk = inverse(met, plan.taps, *shape)[0]
        return (du, dk, None, dpost, None) if pre is None else (du * pre, dk, du * u, dpost, None)


def _filtered(x: Tensor, spectrum: Tensor, plan: Plan) -> Tensor:
    pieces = transform(_cut(x, plan), plan.factors, plan.kept, mean=True)
    y = inverse(_by_filter(pieces, spectrum), _reach(plan), plan.factors, plan.kept)
    return _glued(y, len(x), plan)


def _filter(k: Tensor, plan: Plan) -> Tensor:
    """(c_1 ... c_(p-1), 2, c_p, C) the filter's spectrum, in which mirror images count already."""
    return transform(k[None], plan.factors, plan.kept, mean=False) * _weights(plan, k)


def _weights(plan: Plan, like: Tensor) -> Tensor:
    return plan.weights(like.device).reshape(-1, 1, plan.kept[-1], 1).to(like.dtype)


def _by_filter(pieces: Tensor, spectrum: Tensor, *, conjugate: bool = False) -> Tensor:
    return times(pieces.view(-1, *spectrum.shape), spectrum, conjugate=conjugate).flatten(0, 1)


def _reach(plan: Plan) -> int:
    """Numbers of each piece that an inverse must give."""
    return plan.size if plan.slides else plan.tokens


def _cut(x: Tensor, plan: Plan) -> Tensor:
    """(B pieces, n, C): each piece behind the taps - 1 inputs before it; or all of a sequence that fits as it is."""
    if not plan.slides:
        return x
    behind = plan.pieces * plan.step - plan.tokens
    padded = torch.nn.functional.pad(x, (0, 0, plan.taps - 1, behind))
    return padded.unfold(1, plan.size, plan.step).transpose(2, 3).flatten(0, 1)


def _glued(y: Tensor, rows: int, plan: Plan) -> Tensor:
    """(B, N, C) of what the pieces gave, whose first taps - 1 numbers are wrapped around and so dropped."""
    if not plan.slides:
        return y
    return y[:, plan.taps - 1 :].reshape(rows, -1, y.shape[-1])[:, : plan.tokens]


def _spread(dy: Tensor, plan: Plan) -> Tensor:
    """The adjoint of ``_glued``."""
    if not plan.slides:
        return dy
    padded = torch.nn.functional.pad(dy, (0, 0, 0, plan.pieces * plan.step - plan.tokens))
    pieces = padded.view(-1, plan.step, dy.shape[-1])
    return torch.nn.functional.pad(pieces, (0, 0, plan.taps - 1, 0))


def _added(pieces: Tensor, rows: int, plan: Plan) -> Tensor:
    """The adjoint of ``_cut``: where pieces overlap they are summed."""
    if not plan.slides:
        return pieces
    split = pieces.view(rows, plan.pieces, plan.size, -1)
    whole = pieces.new_zeros(rows, (plan.pieces - 1) * plan.step + plan.size, pieces.shape[-1])
    for i in range(plan.pieces):
        whole[:, i * plan.step : i * plan.step + plan.size] += split[:, i]
    return whole[:, plan.taps - 1 : plan.taps - 1 + plan.tokens]
