"""What a linear recurrence keeps of its input, and what a readout makes of its states.

B sequences, N tokens, S states, R real numbers of a state, V outputs, M samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from seefar.analysis.coding import coding_matrix, decode, final_state
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.mixers.lru import LRU
from seefar.synthetic.causal_maps import in_dictionary
from seefar.training.fit import fit

Samples = tuple[Tensor, Tensor]
"""Codes (M, R) and what is wanted of them (M, V)."""
Reader = Callable[[Samples], Callable[[Tensor], Tensor]]
"""Fitted to samples: from codes (M, R) to outputs (M, V)."""


def recovery(draw: Callable[[int], Tensor], *, inputs: int = 64, per_token: int = 4) -> Arm:
    """The relative error of white noise of a length that is decoded from the last state alone, scanned in float32.

    Singular values below the precision of the states count as zero, which is what helps a badly conditioned code
    most.

    Args:
        draw: count -> (S,) eigenvalues.
        inputs: sequences.
        per_token: S over the length.
    """

    def prepared(seed: int) -> Measure:
        def measure(length: int) -> float:
            torch.manual_seed(seed)
            eigenvalues, x = draw(per_token * length), torch.randn(inputs, length)
            state = final_state(eigenvalues, x)
            # numbers of the scan are rounded so, whatever the decoder is computed in
            back = decode(coding_matrix(eigenvalues, length), state, rtol=torch.finfo(torch.float32).eps)
            return float((back - x).norm() / x.norm())

        return measure

    return prepared


def condition(draw: Callable[[int], Tensor], *, per_token: int = 4) -> Arm:
    """The condition number of the code of a length, in float64: largest over smallest singular value."""

    def prepared(seed: int) -> Measure:
        def measure(length: int) -> float:
            torch.manual_seed(seed)
            return float(torch.linalg.cond(coding_matrix(draw(per_token * length), length)))

        return measure

    return prepared


def explains(sample: Callable[[int, int], Samples], reader: Reader, *, train: int, test: int) -> Arm:
    """R^2 on sequences that the readout was not fitted to: 1 less squared error over variance.

    Args:
        sample: ``sample(count, seed)`` gives codes and what is wanted of them, of ``count`` sequences.
        reader: is fitted to ``train`` sequences.
        train: sequences.
        test: sequences.
    """

    def prepared(seed: int) -> Measure:
        def measure(_: object) -> float:
            torch.manual_seed(seed)
            read = reader(sample(train, 2 * seed + 1))
            codes, wanted = sample(test, 2 * seed + 2)
            return 1 - float((read(codes) - wanted).square().mean() / wanted.var(0, correction=0).mean())

        return measure

    return prepared


def by_token(
    build: Callable[[], LRU], task: Callable[..., tuple[Tensor, Tensor]], length: int
) -> Callable[[int, int], Samples]:
    """Samples of a task: the state after each token, of a recurrence as it is drawn, and what is wanted there."""

    def sample(count: int, seed: int) -> Samples:
        x, wanted = task(count, length, seed=seed)
        return _codes(build(), x).flatten(0, 1), wanted.flatten(0, 1)

    return sample


def by_sequence(
    build: Callable[[], LRU], length: int, dims: int, *, at_once: int = 100
) -> Callable[[int, int], Samples]:
    """Samples of whole sequences out of ``dims`` random orthonormal ones: their last state, and all of the sequence."""

    def sample(count: int, seed: int) -> Samples:
        lru = build()
        basis = torch.linalg.qr(torch.randn(length, dims, generator=torch.Generator().manual_seed(7)))[0]
        x = in_dictionary(count, basis * length**0.5, seed=seed)
        return torch.cat([_codes(lru, part[..., None])[:, -1] for part in x.split(at_once)]), x

    return sample


def as_drawn(states: int, radius: tuple[float, float], phase: float, *, seed: int = 0) -> Callable[[], LRU]:
    """Makes one and the same ``LRU`` of a single channel at every call, whatever was drawn before."""

    def build() -> LRU:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return LRU(1, states=states, radius=radius, phase=phase)

    return build


def linear_reader(samples: Samples) -> Callable[[Tensor], Tensor]:
    """The best linear map with a constant, by least squares in float64."""
    codes, wanted = (part.double() for part in samples)
    centre, middle = codes.mean(0), wanted.mean(0)
    map_RV = torch.linalg.lstsq(codes - centre, wanted - middle, driver="gelsd").solution
    return lambda new: ((new.double() - centre) @ map_RV + middle).to(new.dtype)


def mlp_reader(
    setting: Setting, *, hidden: Sequence[int] = (96, 96), steps: int = 1000, batch: int = 512, lr: float = 3e-3
) -> Reader:
    """An MLP with GELU, trained on the squared error; codes and outputs are brought to mean 0 and variance 1 first."""

    def reader(samples: Samples) -> Callable[[Tensor], Tensor]:
        (centre, size), (middle, scale) = ((part.mean(0), part.std(0).clamp(min=1e-12)) for part in samples)
        codes, wanted = (samples[0] - centre) / size, (samples[1] - middle) / scale
        widths = [codes.shape[1], *hidden]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.GELU())]
        net = nn.Sequential(*layers, nn.Linear(widths[-1], wanted.shape[1]))

        def draw(step: int) -> Samples:
            rows = torch.randint(len(codes), (batch,), generator=torch.Generator().manual_seed(step))
            return codes[rows], wanted[rows]

        fit(net, draw, _error, steps=steps, lr=lr, weight_decay=0.0, progress=setting.progress)
        return torch.no_grad()(lambda new: net((new - centre) / size) * scale + middle)

    return reader


def _error(net: nn.Module, data: Samples) -> tuple[Tensor, dict[str, float]]:
    return (net(data[0]) - data[1]).square().mean(), {}


@torch.no_grad()
def _codes(lru: LRU, x: Tensor) -> Tensor:
    """(B, N, R) the states after each token of x (B, N, 1)."""
    state = lru.states(x)
    return torch.cat([state.real, state.imag], -1) if state.is_complex() else state
