"""A film in which each of a cast comes a set number of times: questions that rest on one moment, or on many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seefar.synthetic.story import SPLITS, Story, draw_cast, draw_sighting

STAY = (4.0, 12.0)
"""Shortest and longest stay on screen, in seconds."""
APART = 2.0
"""Seconds of mere scenery, at the least, between two stays."""


def write_visits(seed: int, seconds: float, visits: Sequence[int], *, split: str = "held-out") -> Story:
    """A story in which character i comes ``visits[i]`` times, in random order, one at a time.

    Nobody comes twice in a row where others can come in between, so that two stays of one character are two moments.
    Nobody carries a number or changes colour; what is left of the film is scenery, shared out at random.

    Args:
        seed: decides everything.
        seconds: length of the film.
        visits: how often each character comes; as many characters as there are numbers.
        split: "train" never shows the held-out combinations; "held-out" stars them.

    Raises:
        ValueError: an unknown split, a number of visits below 1 or none, or a film too short for all stays.
    """
    if split not in SPLITS:
        raise ValueError(f"write_visits: split must be one of {SPLITS}, got {split!r}")
    if not visits or min(visits) < 1:
        raise ValueError(f"write_visits: each character must come at least once, such as (1, 3), got {visits!r}")
    need = sum(visits) * (STAY[1] + APART)
    if seconds < need:
        raise ValueError(f"write_visits: {sum(visits)} stays need a film of {need:.0f} seconds, got {seconds}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 5903])
    cast = [replace(who, number=None) for who in draw_cast(rng, len(visits), split)]
    lengths = rng.uniform(*STAY, sum(visits))
    spare = seconds - lengths.sum() - APART * len(lengths)
    gaps = APART + spare * rng.dirichlet(np.ones(len(lengths) + 1))[:-1]
    starts = np.cumsum(gaps) + np.cumsum(lengths) - lengths
    seen = [
        draw_sighting(rng, who, float(start), float(length), "all", cast, False)
        for who, start, length in zip(_order(rng, visits), starts, lengths, strict=True)
    ]
    return Story(seed, float(seconds), split, tuple(cast), tuple(seen), (), ())


def _order(rng: np.random.Generator, visits: Sequence[int]) -> list[int]:
    """Who comes when: a random order without the same one twice in a row, as far as that is possible."""
    left = np.array(visits)
    order: list[int] = []
    while left.sum():
        free = left.copy()
        if order and left.sum() > left[order[-1]]:
            free[order[-1]] = 0
        # who has more than half of what is to come must come now, or will come twice in a row later
        crowd = np.flatnonzero(2 * free > left.sum())
        order.append(int(crowd[0]) if len(crowd) else int(rng.choice(len(free), p=free / free.sum())))
        left[order[-1]] -= 1
    return order
