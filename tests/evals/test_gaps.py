import math

import pytest
import torch

from seefar.backbones.sequence import SequenceModel
from seefar.evals.gaps import accuracy, gradient_by_lag, learns, slope, spectral_fade, squared_error
from seefar.mixers.gated_recurrence import GatedRecurrence
from seefar.mixers.pattern import column
from seefar.mixers.recurrent import ELMAN, LSTM, RNN
from seefar.papers._card import Scale
from seefar.synthetic.gaps import adding, echo

SMOKE = Scale("smoke", (0,))


def _elman(radius, weight=None):
    torch.manual_seed(0)
    mixer = RNN(32, cell=ELMAN).double()
    torch.nn.init.orthogonal_(mixer.weight_hh_l0, radius)
    for bias in (mixer.bias_ih_l0, mixer.bias_hh_l0):
        torch.nn.init.zeros_(bias)
    return mixer


@pytest.mark.parametrize("radius", [0.8, 1.0, 1.1])
def test_in_the_linear_range_the_gradient_goes_by_the_radius(radius):
    mixer, x = _elman(radius), torch.zeros(2, 40, 32, dtype=torch.float64)
    torch.testing.assert_close(slope(gradient_by_lag(mixer, x)), math.log(radius), atol=0.005, rtol=0.05)
    torch.testing.assert_close(spectral_fade(mixer, x), math.log(radius), atol=1e-9, rtol=0)


def test_bent_units_fade_faster_and_as_told():
    mixer, x = _elman(1.0), torch.randn(4, 40, 32, dtype=torch.float64)
    told = spectral_fade(mixer, x)
    assert told < -0.2 and abs(slope(gradient_by_lag(mixer, x)) / told - 1) < 0.1


def test_an_open_gate_passes_the_gradient_on():
    x = torch.randn(2, 60, 8)
    mixer = RNN(8, cell=LSTM, horizon=10_000)
    assert slope(gradient_by_lag(mixer, x)[1:]) > -0.05 > slope(gradient_by_lag(RNN(8, cell=LSTM), x)[1:])


def test_lags_count_from_the_last_token():
    reach = gradient_by_lag(GatedRecurrence(4), torch.randn(1, 6, 4))
    assert reach.shape == (6,) and reach[0] > reach[5]


def test_slope_needs_something_to_go_by():
    assert slope(torch.tensor([8.0, 4, 2, 1])) == pytest.approx(-math.log(2))
    with pytest.raises(ValueError, match="above 0"):
        slope(torch.tensor([1.0, 0]))


def test_a_network_is_scored_on_either_kind_of_task():
    def number(_):
        return SequenceModel(column("R", 8, R=lambda: RNN(8)), 8, 1, channels=2, pool="last")

    def label(_):
        return SequenceModel(column("R", 8, R=lambda: RNN(8)), 8, 3, channels=3)

    error = learns(number, adding, squared_error, SMOKE, steps=2, batch=4, tests=16)(0)(6)
    assert 0 < error < 5
    share = learns(label, lambda n, length, seed: echo(n, length, 0, symbols=3, seed=seed), accuracy, SMOKE, steps=60)(
        0
    )(6)
    assert share > 0.95
    assert accuracy(torch.eye(3)[None], torch.tensor([[0, 2, -100]])) == 0.5
