"""Linear recurrences that lose nothing, and an MLP that does the rest, are universal (Orvieto et al. 2024).

The state of a diagonal linear recurrence is a fixed linear code of all that came before. With as many different
eigenvalues as there are dimensions of input the code is one to one, so an MLP after it can compute whatever a regular
map makes of the past. Real eigenvalues do in exact arithmetic; complex ones near the unit circle do with rounded
numbers, for their powers stay apart where those of real ones grow alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from seefar.evals import coding
from seefar.evals.protocols import Arm, Curves, length_sweep, sweep
from seefar.mixers.lru import ring
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.causal_maps import bilinear, sliding_median

CARD = Card(
    number=155,
    title="Universality of Linear Recurrences Followed by Non-linear Projections: Finite-Width Guarantees and Benefits "
    "of Complex Eigenvalues",
    arxiv="2307.11888",
    code=None,
    published="a theorem: a diagonal linear recurrence, real or complex, with an MLP after it approximates any regular "
    "causal map; complex eigenvalues near the unit circle keep far more of old inputs",
    holds_when="Scanned in float32, white noise of 64 tokens is decoded from the last of 256 states: relative error at "
    "most 1e-4 with eigenvalues of a ring of radius 0.99 to 1. Recurrences as drawn, an MLP of two layers of 96 "
    "trained on their states for 1000 steps: R^2 of at least 0.98 on new sequences of 64 tokens, for the median of the "
    "last 3 values and for a bilinear differential equation under noise. An MLP reads sequences of 512 tokens, made of "
    "16 random ones, out of 64 complex states with less than 1e-2 of their variance lost. At every seed",
    control="decoding from real eigenvalues, spread over (0, 1), over (-1, 1), or as large as those of the ring, must "
    "miss by at least 0.3; the best linear readout of the same states must stay at R^2 0.8 or below on both maps, and "
    "so must an MLP on states that forget at once; 64 real states as large must lose more than 1e-2",
)
TURN = 2 * math.pi
EIGENVALUES = {
    "ring": lambda count: ring(count, (0.99, 1 - 1e-9), TURN),
    "real, 0 to 1": lambda count: torch.rand(count, dtype=torch.float64),
    "real, -1 to 1": lambda count: 2 * torch.rand(count, dtype=torch.float64) - 1,
    "real, as large as the ring": lambda count: ring(count, (0.99, 1 - 1e-9), 0).real,
}
MAPS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "median of 3": partial(sliding_median, window=3),
    "bilinear equation": bilinear,
}
DRAWN = {"median of 3": ((0.5, 0.95), TURN), "bilinear equation": ((0.5, 0.99), 0.3)}
"""The ring of radii and the highest angle of eigenvalues; low angles where inputs are smooth."""
WORSE = "line", "no memory"


def claim(scale: Scale) -> Verdict:
    """What can be decoded; what an MLP, a line, and no memory make of states; what an MLP restores."""
    lengths = scale.pick([4, 8], [16, 32, 64])
    lost, conditions = (
        length_sweep({name: arm(draw) for name, draw in EIGENVALUES.items()}, lengths, scale, name=arm.__name__)
        for arm in (coding.recovery, coding.condition)
    )
    maps, restored = sweep("maps", _maps(scale), ["R^2"], scale), sweep("restored", _restored(scale), ["R^2"], scale)
    far = {name: row[lengths[-1]].values for name, row in lost.items()}
    kept = {name: row["R^2"].values for name, row in restored.items()}
    return Verdict(
        figures={
            "relative error of decoding, by tokens": lost.to_json(),
            "condition number of the code, by tokens": conditions.to_json(),
            "R^2 of maps": maps.to_json(),
            "R^2 of restored sequences": restored.to_json(),
        },
        checks={
            "the ring loses nothing": max(far["ring"]) <= 1e-4,
            **{f"an MLP learns the {name}": min(_values(maps, name, "MLP")) >= 0.98 for name in MAPS},
            "an MLP restores 512 tokens": min(kept["complex"]) > 0.99,
        },
        controls={
            **{f"{name}: lost": min(far[name]) >= 0.3 for name in EIGENVALUES if name != "ring"},
            **{f"{name}, {way}": max(_values(maps, name, way)) <= 0.8 for name in MAPS for way in WORSE},
            "real states restore less": max(kept["real"]) <= 0.99,
        },
        note="recurrences stay as drawn: it is the code that is tested, not its training. How wide the MLP has to be "
        "for an accuracy, of which the theorem speaks, is not shown",
    )


def _values(curves: Curves, name: str, way: str) -> tuple[float, ...]:
    return curves[f"{name}: {way}"]["R^2"].values


def _maps(scale: Scale) -> dict[str, Arm]:
    train, test, steps = scale.pick((4, 4, 5), (2000, 300, 1000))
    mlp, small = (coding.mlp_reader(scale, hidden=h, steps=n) for h, n in (((96, 96), steps), ((32,), steps // 5)))
    readers = {"MLP": mlp, "line": coding.linear_reader, "no memory": small}

    def arm(name: str, way: str) -> Arm:
        radius, turn = ((1e-4, 1e-3), TURN) if way == "no memory" else DRAWN[name]
        sample = coding.by_token(coding.as_drawn(16, radius, turn), MAPS[name], 64)
        return coding.explains(sample, readers[way], train=train, test=test)

    return {f"{name}: {way}": arm(name, way) for name in MAPS for way in readers}


def _restored(scale: Scale) -> dict[str, Arm]:
    length, states, dims = scale.pick((32, 8, 4), (512, 64, 16))
    train, test, steps = scale.pick((4, 4, 2), (1500, 200, 400))
    reader = coding.mlp_reader(scale, hidden=(256,), steps=steps, batch=128)
    builds = {name: coding.as_drawn(states, (0.99, 0.9999), turn) for name, turn in (("complex", TURN), ("real", 0.0))}
    samples = {name: coding.by_sequence(build, length, dims) for name, build in builds.items()}
    return {name: coding.explains(each, reader, train=train, test=test) for name, each in samples.items()}
