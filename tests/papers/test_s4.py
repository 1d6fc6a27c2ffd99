"""S4: its file keeps its shape, what it times are the same kernels, what it builds streams."""

import pytest
import torch

from seefar.papers import s4
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming

SMOKE = Scale("smoke", (0,))


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(s4, SMOKE)


def test_the_ways_that_are_timed_make_the_same_kernels():
    cauchy, dense, anew = (
        s4._kernels(way, SMOKE)(16)() for way in ("cauchy", "dense powers", "cauchy, transfer made anew")
    )
    assert cauchy.shape == (2, 64)
    torch.testing.assert_close(dense, cauchy, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(anew, cauchy)


def test_the_test_of_the_delay_is_no_step_of_any_training():
    held = {seed: s4._signals(SMOKE, seed, -1)[0] for seed in (0, 1)}
    steps = [s4._signals(SMOKE, seed, step)[0] for seed in (0, 1) for step in range(5)]
    assert not any(torch.equal(held[seed], step) for seed in held for step in steps)
    assert not torch.equal(held[0], held[1])


def test_a_perfect_delay_has_no_error_and_nothing_has_most():
    class Delays(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log_dt = torch.nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return torch.nn.functional.pad(x[:, :-16], (0, 0, 16, 0)), None

    data = s4._signals(SMOKE, 0, 0)
    assert s4._error(Delays(), data)[0] == 0
    assert data[1].square().mean() > 0.5


def test_what_it_builds_streams():
    torch.manual_seed(0)
    check_streaming(s4.build(6, 2, states=4), torch.randn(1, 20, 6))


def test_what_it_builds_refuses_odd_states():
    with pytest.raises(ValueError, match="even number, got 5"):
        s4.build(6, 2, states=5)
