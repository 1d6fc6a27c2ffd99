"""Distillation of a long filter into a recurrence: what took all of the past takes a few numbers instead.

C filters, T taps, n = T - 1 taps after the first, P poles of a filter, d order.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from seefar.mixers.block import Block, Stack
from seefar.mixers.hyena import Hyena, ImplicitConv
from seefar.mixers.modal import LEAST, Modal

Method = Literal["modal", "balanced", "hankel", "prony"]
Network = TypeVar("Network", bound=nn.Module)
EDGE = 1 - 1e-9
"""The largest radius of a pole."""


@dataclass(frozen=True)
class Recurrence:
    """A sum of damped waves that stands for each of C filters, and how well it does; float64.

    h_0 = direct,    h_t = Re sum_p R_p lambda_p^{t-1}

    A real pole counts one towards the order, a complex one two, since it stands for its conjugate too; filters with
    fewer poles are filled up with zeros.

    Args:
        poles: (C, P) complex lambda, inside of the unit circle.
        residues: (C, P) complex R.
        direct: (C,) the first tap.
        error: (C,) length of the difference over that of the filter, over its T taps.
        sigma: (C, n) Hankel singular values of the filter, taken to be zero after its T taps. However a recurrence of
            order d is made, the Hankel matrix of its taps differs by ``sigma[:, d]`` at least.
        order: d.
    """

    poles: Tensor
    residues: Tensor
    direct: Tensor
    error: Tensor
    sigma: Tensor
    order: int

    @property
    def bound(self) -> Tensor:
        """(C,) twice the rest of sigma: what no frequency response of balanced truncation is off by more than."""
        return 2 * self.sigma[:, self.order :].sum(1)

    def kernel(self, length: int) -> Tensor:
        """(length, C) its taps."""
        return _taps(self.poles, self.residues, self.direct, length)


def to_recurrence(
    kernel: Tensor, order: int, method: Method = "modal", *, tolerance: float | None = None
) -> Recurrence:
    """The recurrence of a given order that comes near to a filter, computed on the CPU in float64.

    - ``hankel`` (Kung): the Hankel matrix of the taps at rank d shifts by one row as the recurrence steps. A filter
      that is made of d modes comes back exactly.
    - ``balanced``: the states of the filter's own shift register that are both easy to reach and well seen. No
      frequency response is off by more than ``bound``; it takes the filter to be over after its taps.
    - ``prony``: each tap predicted from the d before it.
    - ``modal``: the better of the first two, then poles and residues moved together down the squared error.

    Residues of ``hankel`` and ``prony`` are least squares. Poles on or outside of the unit circle are mirrored into it.

    Args:
        kernel: (T, C) taps, the one that acts at once first.
        order: d, real numbers that the recurrence may hold for each signal.
        method: how poles are found.
        tolerance: largest relative error that is accepted; None for any.

    Raises:
        ValueError: a filter of no more than 2 d taps, one that is not finite, or an error above ``tolerance``, with the
            Hankel singular values that tell which order it would take.

    Example:
        >>> taps = torch.tensor([[1.0], [1.0], [0.5], [0.25], [0.125]])
        >>> to_recurrence(taps, 1).poles.real.tolist()
        [[0.5]]

    Reference: Massaroli et al., arXiv 2310.18780; Kung, 1978. Differs: ``modal`` begins at the best closed form instead
    of at random and takes Levenberg-Marquardt steps instead of AdamW's.
    """
    if kernel.ndim != 2 or order < 1:
        raise ValueError(f"to_recurrence: kernel is (taps, filters), order at least 1, got {kernel.shape}, {order=}")
    if len(kernel) <= 2 * order:
        raise ValueError(
            f"to_recurrence: {len(kernel)} taps do not tell {order=}; give {2 * order + 1} or more, or a lower order"
        )
    taps = kernel.detach().to("cpu", torch.float64)
    if not taps.isfinite().all():
        raise ValueError("to_recurrence: a tap is NaN or infinite")
    finders = {"modal": _modal, "balanced": _balanced, "hankel": _hankel, "prony": _prony}
    if method not in finders:
        raise ValueError(f"to_recurrence: method must be one of {', '.join(finders)}, got {method!r}")
    found = [finders[method](g, order) for g in taps[1:].T.unbind()]
    most = max(len(poles) for poles, _ in found)
    poles, residues = (
        torch.stack([nn.functional.pad(pair[i], (0, most - len(pair[i]))) for pair in found]) for i in (0, 1)
    )
    sigma = hankel_values(taps)
    difference = _taps(poles, residues, taps[0], len(taps)) - taps
    error = difference.norm(dim=0) / taps.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    if tolerance is not None and error.max() > tolerance:
        worst = int(error.argmax())
        curve = ", ".join(f"{d}: {sigma[worst, d] / sigma[worst, 0]:.1e}" for d in (order, 2 * order, len(taps) // 2))
        raise ValueError(
            f"to_recurrence: filter {worst} is off by {float(error[worst]):.2e} at {order=}, above {tolerance=}; the "
            f"next Hankel singular value over the first, by order, is {curve}: raise the order if this falls"
        )
    return Recurrence(poles, residues, taps[0], error, sigma, order)


def hankel_values(kernel: Tensor) -> Tensor:
    """(C, T - 1) singular values of the Hankel matrices h_{i+j+1} of filters (T, C), zero after T taps, largest first.

    How fast they fall is the order that a filter needs.
    """
    taps = kernel.detach().to("cpu", torch.float64)
    values = [torch.linalg.eigvalsh(_padded_hankel(g)).abs().sort(descending=True).values for g in taps[1:].T.unbind()]
    return torch.stack(values)


def distill(
    model: Network,
    order: int,
    *,
    length: int | None = None,
    method: Method = "modal",
    tolerance: float | None = None,
) -> Network:
    """A copy of a model in which every long filter is a recurrence of a fixed state: it streams at a constant price.

    Nothing else changes and nothing is trained; each new ``Modal`` has its ``error_M`` beside it.

    Args:
        model: with ``Hyena`` layers in it, or one itself.
        order: real numbers held for each signal.
        length: taps that are to be met; None for those that each filter is laid out for.
        method: of ``to_recurrence``.
        tolerance: of ``to_recurrence``.

    Raises:
        ValueError: there is no long filter in the model; or what ``to_recurrence`` refuses.
    """
    model = copy.deepcopy(model)
    layers = [layer for layer in model.modules() if isinstance(layer, Hyena) and isinstance(layer.conv, ImplicitConv)]
    if not layers:
        raise ValueError(f"distill: {type(model).__name__} has no Hyena with an ImplicitConv, so nothing to distil")
    for layer in layers:
        assert isinstance(layer.conv, ImplicitConv)
        taps = layer.conv.kernel(length or layer.conv.length)
        found = to_recurrence(taps, order, method, tolerance=tolerance)
        modal = Modal(found.poles, found.residues, found.direct)
        modal.register_buffer("error_M", found.error, persistent=False)
        layer.conv, layer.bounded = modal.to(taps), True
    for outer in reversed(list(model.modules())):
        if isinstance(outer, Block):
            outer.bounded = outer.mixer.bounded
        elif isinstance(outer, Stack):
            outer.bounded = all(getattr(block, "bounded", False) for block in outer.blocks)
    return model


def _taps(poles: Tensor, residues: Tensor, direct: Tensor, length: int) -> Tensor:
    return torch.cat([direct[None], (residues[..., None] * _powers(poles, length - 1)).real.sum(1).T])


def _powers(poles: Tensor, length: int) -> Tensor:
    """(..., length) poles to the powers 0 ... length - 1; by logarithms, since torch makes NaN of complex 0^t."""
    exponent = torch.complex(poles.abs().clamp(min=LEAST).log(), poles.angle())
    return (exponent[..., None] * torch.arange(length)).exp()


def _hankel(g: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Poles and residues of one filter by the shift of its Hankel matrix, made of the taps at hand alone."""
    rows = (len(g) + 1) // 2
    left, sigma, _ = torch.linalg.svd(g.unfold(0, len(g) + 1 - rows, 1), full_matrices=False)
    rank = min(order, _rank(sigma))
    reach = left[:, :rank] * sigma[:rank].sqrt()
    step = torch.linalg.lstsq(reach[:-1], reach[1:], driver="gelsd").solution
    poles = _upper(torch.linalg.eigvals(step))
    return poles, _residues(g, poles)


def _balanced(g: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Poles and residues of one filter by balanced truncation of its shift register."""
    values, left = torch.linalg.eigh(_padded_hankel(g))
    by_size = values.abs().argsort(descending=True)
    values, left = values[by_size], left[:, by_size]
    rank = min(order, _rank(values.abs()))
    scale, left = values[:rank].abs().sqrt(), left[:, :rank]
    right = left * values[:rank].sign()
    later = _padded_hankel(nn.functional.pad(g[1:], (0, 1)))
    step = (left.T @ later @ right) / scale[:, None] / scale
    into, out = scale * right[0], left[0] * scale
    poles, basis = torch.linalg.eig(step)
    residues = (out.to(basis) @ basis) * torch.linalg.solve(basis, into.to(basis))
    upper = poles.imag >= 0
    # a pole above the axis stands for its conjugate too
    residues = torch.where(poles.imag > 0, 2, 1) * residues
    return _inside(poles[upper]), residues[upper]


def _prony(g: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Poles and residues of one filter by linear prediction."""
    before = g.unfold(0, order, 1)[:-1].flip(1)
    weights = torch.linalg.lstsq(before, g[order:, None], driver="gelsd").solution[:, 0]
    companion = torch.diag(torch.ones(order - 1, dtype=g.dtype), -1)
    companion[0] = weights
    poles = _upper(torch.linalg.eigvals(companion))
    return poles, _residues(g, poles)


def _modal(g: Tensor, order: int, *, iterations: int = 100) -> tuple[Tensor, Tensor]:
    """Poles and residues of one filter by least squares in both, from the better of two closed forms."""
    starts = [_hankel(g, order), _balanced(g, order)]
    off = [float((_taps(p[None], r[None], g[:1], len(g) + 1)[1:, 0] - g).norm()) for p, r in starts]
    poles, residues = starts[off.index(min(off))]
    turns = poles.imag > 0
    learnt = torch.cat([torch.ones_like(turns), turns, torch.ones_like(turns), turns])
    time = torch.arange(len(g), dtype=g.dtype)
    radius = poles.abs().clamp(LEAST, EDGE)
    x = torch.cat([(-radius.log()).log(), poles.angle(), residues.real, residues.imag * turns])

    def model(x: Tensor) -> tuple[Tensor, Tensor]:
        """Taps minus g, and their derivatives by all of x."""
        log_decay, angle, real, imag = x.chunk(4)
        wave = torch.exp(torch.complex(-log_decay.exp(), angle)[:, None] * time)
        part = torch.complex(real, imag)[:, None] * wave
        slopes = torch.cat([(part * -log_decay.exp()[:, None] * time).real, -(part * time).imag, wave.real, -wave.imag])
        return part.real.sum(0) - g, slopes[learnt].T

    damping, (miss, slopes) = 1e-3, model(x)
    for _ in range(iterations):
        curve, pull = slopes.T @ slopes, slopes.T @ miss
        size = curve.diagonal().clamp(min=1e-30)
        step = torch.linalg.lstsq(curve + damping * size.diag(), pull[:, None], driver="gelsd").solution[:, 0]
        tried = x.clone()
        tried[learnt] -= step
        tried[: len(poles)].clamp_(max=3.0)  # a radius of 2e-9: the wave is over at once
        new_miss, new_slopes = model(tried)
        if new_miss.isfinite().all() and new_miss.norm() < miss.norm():
            gained = 1 - float(new_miss.norm() / miss.norm())
            x, miss, slopes, damping = tried, new_miss, new_slopes, damping / 3
            if gained < 1e-6:
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    log_decay, angle, real, imag = x.chunk(4)
    return _inside(torch.exp(torch.complex(-log_decay.exp(), angle))), torch.complex(real, imag)


def _padded_hankel(g: Tensor) -> Tensor:
    """(n, n) with g_{i+j}, zero where it is over."""
    return nn.functional.pad(g, (0, len(g) - 1)).unfold(0, len(g), 1)


def _rank(sigma: Tensor) -> int:
    return max(1, int((sigma > 1e-13 * sigma[0]).sum()))


def _upper(poles: Tensor) -> Tensor:
    """One pole of each conjugate pair, inside of the unit circle."""
    return _inside(poles[poles.imag >= 0])


def _inside(poles: Tensor) -> Tensor:
    radius = poles.abs()
    mirrored = torch.minimum(radius, 1 / radius.clamp(min=LEAST)).clamp(max=EDGE)
    return torch.where(radius > EDGE, torch.polar(mirrored, poles.angle()), poles)


def _residues(g: Tensor, poles: Tensor) -> Tensor:
    """The residues (P,) complex that come nearest to g; real ones for real poles."""
    waves = _powers(poles, len(g)).T
    turns = poles.imag > 0
    columns = torch.cat([waves.real, -waves.imag[:, turns]], 1)
    size = columns.norm(dim=0)
    found = torch.linalg.lstsq(columns / size, g[:, None], driver="gelsd").solution[:, 0] / size
    imag = torch.zeros(len(poles), dtype=g.dtype)
    imag[turns] = found[len(poles) :]
    return torch.complex(found[: len(poles)], imag)
