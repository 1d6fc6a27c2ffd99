"""Causal maps: their outputs against other people's code, and how far a line gets."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.signal import medfilt

from seefar.synthetic.causal_maps import bilinear, in_dictionary, sliding_median


def test_the_sliding_median_is_that_of_scipy_and_looks_back_alone():
    x, wanted = sliding_median(3, 20, window=5, seed=0)
    for row, out in zip(x[..., 0].numpy(), wanted[..., 0].numpy(), strict=True):
        np.testing.assert_array_equal(out[2:-2][2:], medfilt(row, 5)[2:-2][:-2])
        assert out[0] == 0  # the one value and four zeros before it


def test_a_line_explains_as_much_of_a_median_as_told():
    x, wanted = sliding_median(500, 60, window=5, seed=1)
    past = x[..., 0].unfold(1, 5, 1).reshape(-1, 5)
    out = wanted[:, 4:].reshape(-1, 1)
    left = out - past @ torch.linalg.lstsq(past, out).solution
    assert 1 - float(left.var() / out.var()) == pytest.approx(0.70, abs=0.02)


def test_the_equation_is_followed_as_scipy_does():
    dt = 0.02
    u, wanted = bilinear(1, 200, dt=dt, seed=3)
    drive, at = u[0, :, 0].double().numpy(), dt * np.arange(1, 201)
    start = float(wanted[0, 0, 0])
    first = np.interp(dt, at, drive) * dt  # near enough: the first step from rest

    def slope(t, z):
        now = np.interp(t, at, drive)
        return [now - z[0], now * z[0] - 0.5 * z[1]]

    done = solve_ivp(slope, (dt, at[-1]), [first, start], t_eval=at, rtol=1e-8, max_step=dt)
    np.testing.assert_allclose(wanted[0, :, 0].numpy(), done.y[1], atol=0.05 * np.abs(done.y[1]).max())


def test_the_noise_has_variance_one_and_both_signs_give_one_output():
    u, wanted = bilinear(4000, 60, seed=0)
    assert float(u.var()) == pytest.approx(1, abs=0.1)
    assert abs(float((u * wanted).mean())) < 0.1 * float(wanted.std())  # even in u
    assert not torch.equal(u[:4], bilinear(4, 60, seed=1)[0])


def test_sequences_of_a_dictionary_lie_in_it():
    basis = torch.linalg.qr(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))[0]
    x = in_dictionary(50, basis, seed=0)
    assert x.shape == (50, 30)
    torch.testing.assert_close(x @ basis @ basis.mT, x)


def test_maps_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match="odd and at least 3, got 4"):
        sliding_median(1, 4, window=4, seed=0)
    with pytest.raises(ValueError, match="rate"):
        bilinear(1, 4, dt=3.0, seed=0)
    with pytest.raises(ValueError, match="got count=0"):
        bilinear(0, 4, seed=0)
    with pytest.raises(ValueError, match=r"\(N, P\)"):
        in_dictionary(1, torch.ones(3), seed=0)
