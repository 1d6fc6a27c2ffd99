"""The vectorised power of two against NumPy's, over its whole range."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("dtype", "low", "high", "most"), [("float32", -125, 125, 2e-7), ("float64", -1021, 1021, 5e-16)]
)
def test_powers_of_two_and_sigmoid_are_right_to_the_last_digits(dtype, low, high, most):
    from numba import njit

    from seefar.ops._exp2 import exp2, sigmoid

    @njit
    def both(x, power, gate):
        for i in range(len(x)):
            power[i] = exp2(x[i])
            gate[i] = sigmoid(x[i])

    x = np.concatenate([np.linspace(low, high, 100_001), [0, -1, 1, 0.5, -0.5]]).astype(dtype)
    power, gate = np.empty_like(x), np.empty_like(x)
    both(x, power, gate)
    wide = x.astype(np.longdouble)
    assert np.abs(power / np.exp2(wide) - 1).max() < most
    near = np.abs(x) < 80
    assert np.abs(gate[near] * (1 + np.exp(-wide[near])) - 1).max() < 200 * most
    assert power[-5] == 1 and power[-4] == 0.5 and power[-3] == 2 and gate[-5] == 0.5


def test_beyond_the_range_of_a_float_the_ends_hold():
    from numba import njit

    from seefar.ops._exp2 import exp2

    run = njit(lambda x: exp2(x))
    assert run(np.float32(-1e30)) == np.float32(2.0**-126) and run(np.float32(1e30)) == np.float32(2.0**126)
    assert run(-np.inf) == 2.0**-1022 and run(np.inf) == 2.0**1022
