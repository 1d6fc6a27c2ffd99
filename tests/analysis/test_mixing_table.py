"""Oracles: matrices whose class is known."""

import torch

from seefar.analysis.mixing_matrix import PATHS, Path
from seefar.analysis.mixing_table import mixing_table
from seefar.mixers import EMA, RNN, Attention, Fourier, GatedRecurrence, NormalizedLinear, TwoFormAttention
from seefar.mixers.base import Mixer

N, D = 16, 4


class Fixed(Mixer):
    """x times a matrix, whatever x is."""

    causal, bounded = False, False

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x, state=None):
        return self.matrix @ x, None


def table(**mixers):
    torch.manual_seed(0)
    return mixing_table({name: mixer.double() for name, mixer in mixers.items()}, torch.randn(2, N, D).double())


def test_a_mean_of_all_is_of_rank_one_and_a_convolution_of_nothing(monkeypatch):
    monkeypatch.setitem(PATHS, Fixed, Path())
    back = torch.arange(N)[:, None] - torch.arange(N)
    rows = table(
        mean=Fixed(torch.full((N, N), 1 / N).double()),
        fading=Fixed(torch.where(back >= 0, 0.5 ** back.clamp_min(0).double(), 0.0)),
        near=Fixed((back.abs() <= 1).double() * torch.arange(1, N + 1).double()),
    )
    mean, fading, near = rows.values()
    assert (mean.rank, mean.stochastic, mean.toeplitz, mean.causal, mean.from_data) == (1, True, True, False, False)
    assert (fading.rank, fading.carried, fading.toeplitz, fading.causal) == (N, 1, True, True)
    assert (mean.cheapest, fading.cheapest, fading.numbers) == ("convolution", "convolution", N)
    assert (near.cheapest, near.numbers, near.carried) == ("entries", 3 * N - 2, 1)
    assert (
        not (mean.waves or fading.waves)
        and not near.toeplitz
        and not near.stochastic
        and near.density == (3 * N - 2) / N**2
    )


def test_mixers_are_of_the_class_that_their_equations_say():
    torch.manual_seed(0)
    rows = table(
        softmax=Attention(D, 2),
        features=TwoFormAttention(D, 2, NormalizedLinear()),
        ema=EMA(D, states=2),
        gated=GatedRecurrence(D),
        fourier=Fourier(),
        lstm=RNN(D),
    )
    softmax, features, ema, gated, fourier, lstm = rows.values()
    assert softmax.stochastic and softmax.causal and softmax.from_data and softmax.carried > 2
    assert features.rank == 2 and not features.causal and features.from_data and features.cheapest == "low rank"
    assert ema.toeplitz and ema.carried == 2 and not ema.from_data and ema.numbers == N
    assert gated.carried == 1 and not gated.toeplitz and gated.from_data and gated.cheapest == "recurrence"
    assert (
        fourier.rank == N
        and fourier.waves
        and fourier.cheapest == "fast transform"
        and not (fourier.causal or fourier.from_data)
    )
    assert lstm.kind == "jacobian" and lstm.error is None and lstm.causal
    assert all(row.error < 1e-10 for row in rows.values() if row.kind == "linear")
