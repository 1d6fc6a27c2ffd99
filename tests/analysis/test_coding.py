"""The code of a linear recurrence: what the scan holds, what is decoded, and how sharply."""

import math

import numpy as np
import pytest
import torch

from seefar.analysis.coding import coding_matrix, decode, final_state, noise_error
from seefar.mixers.lru import LRU, ring

RINGS = {"complex": 2 * math.pi, "real": 0.0}


def circle(count, radius=(0.9, 0.99), phase=2 * math.pi):
    drawn = ring(count, radius, phase)
    return drawn if phase else drawn.real


@pytest.mark.parametrize("phase", RINGS.values(), ids=RINGS)
def test_the_state_of_the_scan_is_the_matrix_times_the_input(phase):
    torch.manual_seed(0)
    x, eigenvalues = torch.randn(3, 20).double(), circle(7, phase=phase)
    code = coding_matrix(eigenvalues, 20)
    torch.testing.assert_close(final_state(eigenvalues, x), x @ code.mT, rtol=1e-12, atol=1e-12)
    powers = np.vander(eigenvalues.numpy(), 20)  # other people's Vandermonde matrix, its oldest power first
    np.testing.assert_allclose(code.numpy(), np.concatenate([powers.real, powers.imag]) if phase else powers, 1e-12)


def test_a_linear_recurrent_unit_holds_that_code_with_its_own_gains():
    torch.manual_seed(0)
    lru, x = LRU(1, states=5).double(), torch.randn(2, 16).double()
    gain = lru.log_gamma.exp() * torch.view_as_complex(lru.B)[:, 0]
    state = lru.states(x[..., None])[:, -1]
    code = coding_matrix(lru.eigenvalues(), 16, gain=gain)
    torch.testing.assert_close(torch.cat([state.real, state.imag], -1), x @ code.mT, rtol=1e-12, atol=1e-12)


def test_as_many_real_states_as_tokens_decode_up_to_their_condition():
    torch.manual_seed(0)
    x, eigenvalues = torch.randn(50, 8).double(), torch.linspace(-0.9, 0.95, 8).double()
    code = coding_matrix(eigenvalues, 8)
    back = decode(code, final_state(eigenvalues, x), rtol=0.0)
    assert float((back - x).norm() / x.norm()) <= 10 * 2.3e-16 * float(torch.linalg.cond(code))


@pytest.mark.parametrize("radius", [0.9, 0.99])
def test_complex_states_near_the_circle_decode_sharply_where_real_ones_cannot(radius):
    torch.manual_seed(0)
    x = torch.randn(20, 64).double()
    conditions = {}
    for name, phase in RINGS.items():
        eigenvalues = circle(256, (radius, 1 - 1e-9), phase)
        code = coding_matrix(eigenvalues, 64)
        conditions[name] = float(torch.linalg.cond(code))
        error = float((decode(code, final_state(eigenvalues, x)) - x).norm() / x.norm())
        assert (error <= 10 * 2.3e-16 * conditions[name]) if phase else (error > 1e-3)
    assert conditions["complex"] < 10 and conditions["real"] > 1e15


def test_noise_on_the_state_comes_back_as_the_formula_says():
    torch.manual_seed(0)
    eigenvalues, x = circle(40), torch.randn(4000, 32).double()
    code = coding_matrix(eigenvalues, 32)
    noisy = x @ code.mT + 0.01 * torch.randn(4000, 80)
    error = (decode(code, noisy) - x).square().mean().sqrt()
    assert float(error) == pytest.approx(noise_error(code, 0.01), rel=0.03)


def test_inputs_of_a_dictionary_need_as_many_states_as_it_has_dimensions():
    torch.manual_seed(0)
    basis, alpha = torch.linalg.qr(torch.randn(100, 6).double())[0], torch.randn(30, 6).double()
    x = alpha @ basis.mT
    eigenvalues = torch.linspace(-0.98, 0.99, 6).double()
    for states in (6, 5):
        code = coding_matrix(eigenvalues[:states], 100, basis=basis)
        state = final_state(eigenvalues[:states], x)
        if states == 6:
            torch.testing.assert_close(decode(code, state), alpha, rtol=1e-7, atol=1e-7)
            continue
        with pytest.warns(UserWarning, match="5 numbers of a state cannot hold 6"):
            back = decode(code, state)
        rows = torch.linalg.qr(code.mT)[0]  # what lies outside of the rows of the code is what is lost
        outside = alpha - alpha @ rows @ rows.mT
        torch.testing.assert_close((back - alpha).norm(), outside.norm(), rtol=1e-7, atol=1e-7)
        assert float(outside.norm()) > 0.1


def test_a_complex_state_counts_as_two_numbers_of_a_real_input():
    torch.manual_seed(0)
    x, eigenvalues = torch.randn(10, 12).double(), circle(6)
    torch.testing.assert_close(decode(coding_matrix(eigenvalues, 12), final_state(eigenvalues, x)), x)


def test_the_gain_that_normalises_states_leaves_the_rows_of_the_code():
    torch.manual_seed(0)
    eigenvalues = circle(4)
    plain = coding_matrix(eigenvalues, 12)
    gained = coding_matrix(eigenvalues, 12, gain=(1 - eigenvalues.abs() ** 2).sqrt())
    assert not torch.allclose(plain, gained)
    project = [torch.linalg.pinv(code) @ code for code in (plain, gained)]
    torch.testing.assert_close(*project, rtol=1e-9, atol=1e-9)


def test_codes_that_lose_or_explode_are_refused():
    with pytest.raises(ValueError, match="of 3 eigenvalues only 2 differ"):
        coding_matrix(torch.tensor([0.5, 0.9, 0.5]), 4)
    with pytest.raises(ValueError, match=r"modulus of 1\.2"):
        coding_matrix(torch.tensor([0.5, -1.2]), 4)
    with pytest.raises(ValueError, match=r"\(N, P\) with N = 4"):
        coding_matrix(torch.tensor([0.5]), 4, basis=torch.ones(5, 2))
    with pytest.raises(ValueError, match="needs"):
        coding_matrix(torch.ones(2, 2), 4)
