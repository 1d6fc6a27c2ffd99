"""From which length on the sums over keys pay: what the authors count, and what is counted here.

d width of a head, of values too.
"""

from __future__ import annotations

import math

GATHERED, SQUARED = 16, 2
"""What a product of two gathered numbers, and a square, cost in multiply-adds of a matrix product, measured."""


def fewer_operations_from(d: int) -> float:
    """Tokens from which on the authors count fewer operations for ``outer`` than for all pairs: d^2 + d + 3/4.

    They bound by it the N where 4 N^2 d + 6 N^2 = N (4 d^3 + 10 d^2 + 9 d + 4).
    """
    return d * d + d + 0.75


def fewer_numbers_from(d: int) -> float:
    """Tokens from which on the authors count fewer numbers held by ``outer`` at once: about d^2 / 2 + 2 d + 1/2.

    Both without tiles: d N + 2 N^2 against d^2 (d + 1) + 2 d N + (d + 1) N + d^2 N.
    """
    return d * d / 2 + 2 * d + 0.5


def pays_from(d: int) -> int:
    """Tokens from which on ``linear`` takes less work than ``direct``: P (d + 17) / (d + 2), P = (d + 1)(d + 2) / 2."""
    products = (d + 1) * (d + 2) / 2
    return math.ceil(products * (d + 1 + GATHERED) / (d + 1 + SQUARED / 2))


def pays(N: int, M: int, d: int) -> bool:
    """Whether that is so for N queries and M keys, of which the harmonic mean counts."""
    return pays_from(d) * (N + M) <= 2 * N * M
