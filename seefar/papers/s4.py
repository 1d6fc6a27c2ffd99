"""S4: a linear state space that starts as a memory of its whole past (Gu et al. 2022).

A linear recurrence with the right matrix, HiPPO, keeps a long past as a few numbers; but its kernel took as many
products with that matrix as there are tokens. The matrix is a diagonal less one rank in another basis. There the
transform of the kernel is four sums of poles, so the layer trains as one long convolution, and still runs as a
recurrence, a token at a time, with a state that doesn't grow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Measure, ablation, cost_sweep
from seefar.mixers.block import Block, Stack
from seefar.mixers.dplr import DPLR, dplr_kernel, krylov, squares
from seefar.mixers.hippo import Modes, legs, scattered
from seefar.mixers.s4 import S4
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.delay import delayed_noise
from seefar.training.fit import fit

CARD = Card(
    number=50,
    title="Efficiently Modeling Long Sequences with Structured State Spaces",
    arxiv="2111.00396",
    code="state-spaces/s4",
    published="91 % on sequential CIFAR-10, not augmented; best on every task of the Long Range Arena, Path-X (16K "
    "tokens) among them; generates 60 times faster than a Transformer",
    holds_when=(
        "kernels of 4096 taps for 8 channels, float32: seconds by Cauchy sums grow with the states (32 to 256) to the "
        "power 1.2 at most, and at 256 states are at most a tenth of those by dense powers. Giving back noise 64 "
        "tokens later (256 tokens, 16 cycles held, 4 channels of 64 states: a sixteenth of the task of arXiv "
        "2206.12037): the mean squared error of a system that starts as HiPPO is at most a tenth of that of one that "
        "starts at random, after the same training. Images by pixels and speed of generation are left out at this scale"
    ),
    control="dense powers, made by repeated doubling, must grow with the states to the power 1.8 at least; giving back "
    "nothing must miss the bar that HiPPO has to reach against the random start",
)


def build(dim: int = 128, depth: int = 6, *, states: int = 64, init: Callable[[int], Modes] = legs) -> Stack:
    """A column of S4 layers, each with its norm and residual path; a mixer itself, so it streams."""
    return Stack([Block(dim, S4(dim, states=states, init=init), mlp_ratio=0) for _ in range(depth)])


def claim(scale: Scale) -> Verdict:
    """The price of kernels by states; then one linear system, two starts, one training."""
    states = scale.pick([8, 16], [32, 64, 128, 256])
    ways = {name: _kernels(name, scale) for name in ("cauchy", "dense powers", "cauchy, transfer made anew")}
    seconds, held = cost_sweep(ways, states, scale, repeats=scale.pick(1, 7), name="kernels")
    powers = {name: seconds.slope(name) for name in ways}
    times = seconds["dense powers"][states[-1]].mean / seconds["cauchy"][states[-1]].mean
    arms = {"hippo": _delay(legs, scale), "random": _delay(scattered, scale)}
    arms["nothing"] = lambda seed: lambda _: float(_signals(scale, seed, -1)[1].square().mean())
    error = ablation(arms, scale, name="delay")
    hippo, random, nothing = (error[name]["score"].mean for name in arms)
    figures = {
        "seconds for kernels, by states": seconds.to_json(),
        "bytes for kernels, by states": held.to_json(),
        "power of seconds in states": powers,
        "times as long at the most states, dense powers over cauchy": times,
        "mean squared error of the delay": error.to_json(),
        "error of hippo over that of random": hippo / random,
    }
    checks = {
        "cauchy sums grow with the states": powers["cauchy"] <= 1.2,
        "ten times as fast as dense powers": times >= 10,
        "a tenth of the error of a random start": hippo <= 0.1 * random,
    }
    controls = {
        "dense powers grow with their square": powers["dense powers"] >= 1.8,
        "nothing misses the bar of the delay": nothing > 0.1 * random,
    }
    note = "the authors learn C (I - Ab^N) as it is; our mixer makes it anew for each length, at the price beside it"
    return Verdict(figures, checks, controls, note)


def _kernels(way: str, scale: Scale) -> Callable[[int], Callable[[], Tensor]]:
    channels, length = scale.pick((2, 64), (8, 4096))

    @torch.no_grad()
    def prepare(states: int) -> Callable[[], Tensor]:
        torch.manual_seed(states)
        mixer = DPLR(channels, states=states)
        (A, B), C, transfer = mixer.discrete(), mixer.readout(), mixer.transfer(length)
        calls = {
            "cauchy": lambda: dplr_kernel(*transfer, length),
            "dense powers": lambda: (C[:, None] @ krylov(squares(A, length), B, length))[:, 0],
            "cauchy, transfer made anew": lambda: mixer.kernel(length),
        }
        return torch.no_grad()(calls[way])

    return prepare


def _delay(init: Callable[[int], Modes], scale: Scale) -> Arm:
    """A state space alone, the mean of its channels read out, trained in full from ``init``."""
    channels, lag, steps = scale.pick((2, 16, 2), (4, 64, 400))

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = DPLR(channels, states=lag, dt=(1 / lag, 2 / lag), init=init)
        fit(model, lambda step: _signals(scale, seed, step), _error, steps=steps, lr=1e-2, progress=scale.progress)
        return lambda _: float(torch.no_grad()(_error)(model, _signals(scale, seed, -1))[0])

    return prepare


def _signals(scale: Scale, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """The batch of a step; step -1 is the test."""
    lag = scale.pick(16, 64)
    return delayed_noise(16, 4 * lag, lag, band=0.25, seed=100_000 * (seed + 1) + step)


def _error(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    wide = data[0].expand(-1, -1, len(model.get_parameter("log_dt")))
    return (model(wide)[0].mean(-1, keepdim=True) - data[1]).square().mean(), {}
