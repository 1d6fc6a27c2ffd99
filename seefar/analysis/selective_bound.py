"""A selective state space as a kind of attention, and how far its training loss can lie from the true one.

B batch, N tokens, D channels, S states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seefar.mixers.plain_selective import PlainSelective


def scan_weights(mixer: PlainSelective, x: Tensor) -> Tensor:
    """(B, S, N) how much of each token's write is left in each state after the last of x (B, N, D).

    w_sk = exp(A_s (dt_{k+1} + ... + dt_N)) dt_k,    y_N = sum_k sum_s (W_C u_N)_s w_sk (W_B u_k)_s u_k

    What softmax is to attention: weights of tokens that do not depend on what the tokens carry, except by their steps.
    """
    dt_BN = mixer.steps(x)
    since_BN = dt_BN.sum(1, keepdim=True) - dt_BN.cumsum(1)
    return (mixer.A[:, None] * since_BN[:, None]).exp() * dt_BN[:, None]


def step_range(mixer: PlainSelective, norm: float) -> tuple[float, float]:
    """The shortest and the longest step that a token of at most this length can have: softplus(p -+ |q| norm).

    Raises:
        ValueError: no finite norm; inputs without a bound have no generalisation bound either.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise ValueError(f"step_range: inputs need a finite length to bound anything by, got {norm}; clip or norm them")
    p, q = float(mixer.p.detach()), float(mixer.q.detach().norm())
    low, high = torch.nn.functional.softplus(torch.tensor([p - q * norm, p + q * norm], dtype=torch.float64)).tolist()
    return low, high


def weight_sum(abscissa: float, steps: tuple[float, float], length: float) -> float:
    """The most that the weights of all tokens can add up to in one state: dt_max sum_{i < N} rho^i.

    rho = exp(s_A dt_min) if s_A < 0, exp(s_A dt_max) if not. Below 0 it stays under dt_max / (1 - rho) for any length,
    at 0 it is N dt_max, above it explodes. ``length`` may be ``math.inf``; a shortest step of 0 then gives infinity.
    """
    return steps[1] * _sums(abscissa, steps, length)[0]


@dataclass(frozen=True)
class Bound:
    """A bound on true loss less training loss.

    Args:
        gap: the bound.
        output: the largest output the class can give.
        weights: the largest sum of the weights of tokens in a state.
    """

    gap: float
    output: float
    weights: float


def generalization_bound(
    mixer: PlainSelective,
    head: nn.Linear,
    *,
    examples: int,
    length: float,
    norm: float = 1.0,
    confidence: float = 0.95,
) -> Bound:
    """How far the true loss of a classifier of its last token can lie above the one it was trained to.

    For any loss of one output that is 1-Lipschitz in it, such as the logistic loss, and at most log 2 at 0, over all
    classifiers ``head(mixer(x)[:, -1])`` whose weights are no larger than these, whose eigenvalues lie no further to
    the right and whose steps lie in the same range:

    gap <= 2 (eps + R sqrt(2 log N(eps) / m)) + (log 2 + R) sqrt(log(1 / delta) / 2 m),    eps = R / sqrt(m)

    R is the largest output, |w| |W_C| |W_B| |u|^3 G + |b|, with G the largest sum of weights, and N(eps) covers the
    weights part by part, each as finely as the output depends on it. Only G and its like know of the length.

    Args:
        mixer: gives the class its size by its weights.
        head: of one output.
        examples: m.
        length: N, or ``math.inf`` for all lengths at once.
        norm: of the longest token.
        confidence: 1 - delta.

    Raises:
        ValueError: a head of more outputs, inputs without a bound, no example, or a confidence outside of (0, 1).

    Reference: Honarpisheh et al., arXiv 2502.01473. Differs: the paper covers linear maps by matrix norms and chains
    over all scales (Dudley); here weights are covered one by one at a single scale, so constants are larger, and what
    length does to them is the same. The class is fixed by the learnt weights, as if it had been named before training.
    """
    if head.out_features != 1:
        raise ValueError(f"generalization_bound: the head must have one output, got {head.out_features}")
    if examples < 1 or not 0 < confidence < 1:
        raise ValueError(f"generalization_bound: needs examples and confidence in (0, 1), got {examples}, {confidence}")
    steps = step_range(mixer, norm)
    plain, late = _sums(mixer.abscissa, steps, length)
    size = {
        name: float(part.detach().double().norm())
        for name, part in (("B", mixer.B), ("C", mixer.C), ("w", head.weight), ("q", mixer.q), ("A", mixer.A))
    }
    bias = 0.0 if head.bias is None else float(head.bias.detach().abs())
    largest = float(mixer.A.detach().abs().max())
    unit = steps[1] * plain * norm**3
    output = size["w"] * size["C"] * size["B"] * unit + bias
    carried = size["w"] * size["C"] * size["B"] * norm**3
    by_step = carried * (plain + largest * steps[1] * late)
    # (numbers, radius of the ball they lie in, how fast the output moves with them)
    parts = (
        (mixer.B.numel(), size["B"], size["w"] * size["C"] * unit),
        (mixer.C.numel(), size["C"], size["w"] * size["B"] * unit),
        (head.weight.numel(), size["w"], size["C"] * size["B"] * unit),
        (mixer.A.numel(), size["A"], carried * steps[1] ** 2 * late),
        (mixer.q.numel(), size["q"], by_step * norm),
        (1, abs(float(mixer.p.detach())), by_step),
        (1, bias, 1.0),
    )
    if not math.isfinite(output) or not math.isfinite(by_step):
        return Bound(math.inf, math.inf, steps[1] * plain)
    eps = output / math.sqrt(examples)
    cover = sum(count * math.log1p(2 * len(parts) * radius * slope / eps) for count, radius, slope in parts)
    complexity = eps + output * math.sqrt(2 * cover / examples)
    chance = (math.log(2) + output) * math.sqrt(-math.log(1 - confidence) / (2 * examples))
    return Bound(2 * complexity + chance, output, steps[1] * plain)


def _sums(abscissa: float, steps: tuple[float, float], length: float) -> tuple[float, float]:
    """sum_{i < N} rho^i and sum_{i < N} i rho^i."""
    rate = abscissa * (steps[0] if abscissa < 0 else steps[1])
    if math.isinf(length):
        gone = -math.expm1(rate)
        return (1 / gone, math.exp(rate) / gone**2) if gone > 0 else (math.inf, math.inf)
    i = torch.arange(int(length), dtype=torch.float64)
    powers = (rate * i).exp()
    return float(powers.sum()), float((i * powers).sum())
