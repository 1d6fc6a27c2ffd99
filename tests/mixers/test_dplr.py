"""Oracles: SciPy's bilinear rule and simulation of the dense HiPPO matrix, its powers, the diagonal in closed form."""

import copy

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete, dlsim

from seefar.mixers import DPLR, StateSpaceState
from seefar.mixers.dplr import dplr_kernel, krylov, squares
from seefar.mixers.hippo import legs, legs_matrix, linear, normal_form, scattered
from seefar.testing import check_streaming
from seefar.training.fit import fit


def mixer(dim=3, states=8, **options):
    torch.manual_seed(0)
    return DPLR(dim, states=states, **options).double()


def dense(ours, channel, states):
    """Ab, Bb and C of a channel that still is HiPPO, from the matrix itself and by SciPy."""
    A, B = legs_matrix(states)
    _, half = normal_form(A, torch.sqrt(torch.arange(states, dtype=torch.float64) + 0.5))
    C = (2 * torch.view_as_complex(ours.C.detach())[channel] @ half.mH).real
    dt = ours.log_dt[channel].exp().item()
    exact = (A.numpy(), B.numpy()[:, None], np.eye(states), np.zeros((states, 1)))
    Ab, Bb, *_ = cont2discrete(exact, dt, method="bilinear")
    return Ab, Bb, C.numpy()


@pytest.fixture
def hippo():
    """A mixer that starts as HiPPO to the last digit of float64; mixers are made in float32."""
    ours, modes = mixer(), legs(8)
    with torch.no_grad():
        ours.log_A_real.copy_((-modes.eigenvalue_H.real).log())
        ours.A_imag.copy_(modes.eigenvalue_H.imag)
        ours.P.copy_(torch.view_as_real(modes.P_H))
        ours.B.copy_(torch.view_as_real(modes.B_H))
    return ours


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 100, 127, 1000, 1023, 1024])
def test_the_kernel_is_the_powers_of_the_dense_matrix(hippo, length):
    kernel = hippo.kernel(length).detach().numpy()
    for channel in range(3):
        Ab, Bb, C = dense(hippo, channel, 8)
        want, column = [], Bb[:, 0]
        for _ in range(length):
            want.append(C @ column)
            column = Ab @ column
        np.testing.assert_allclose(kernel[channel], want, rtol=0, atol=1e-10)


def test_sixty_four_states_too():
    ours = mixer(2, 64)
    A, B = ours.discrete()
    want = torch.einsum("ds,dst->dt", ours.readout(), krylov(squares(A, 777), B, 777))
    torch.testing.assert_close(ours.kernel(777), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [1, 7, 64, 101])
def test_it_simulates_as_scipy_does(hippo, length):
    u = torch.randn(1, length, 3, dtype=torch.float64)
    got, _ = hippo(u)
    for channel in range(3):
        Ab, Bb, C = dense(hippo, channel, 8)
        # SciPy reads a state before its step, S4 after it
        system = (Ab, Bb, C[None] @ Ab, C[None] @ Bb + hippo.D[channel].item(), 1)
        _, want, _ = dlsim(system, np.append(u[0, :, channel].numpy(), 0))
        np.testing.assert_allclose(got[0, :, channel].detach(), want[:length, 0], atol=1e-11)


@pytest.mark.parametrize("start", [None, linear, scattered])
def test_streams(start):
    check_streaming(mixer(**({} if start is None else {"init": start})), torch.randn(2, 33, 3))


def test_streams_over_many_blocks():
    check_streaming(mixer(2, 4), torch.randn(2, 139, 2))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(mixer()), torch.randn(2, 33, 3))


def test_a_longer_kernel_goes_on_where_a_shorter_one_ends():
    ours = mixer()
    torch.testing.assert_close(ours.kernel(300)[:, :77], ours.kernel(77), rtol=0, atol=1e-12)


def test_the_readout_itself_in_place_of_its_transfer_wraps_around():
    ours = mixer(dt=(1e-2, 1e-2))
    eigenvalue, P, B, _, dt = ours.transfer(50)
    wrong = dplr_kernel(eigenvalue, P, B, torch.view_as_complex(ours.C), dt, 50)
    wrapped = ours.kernel(20_000).unflatten(1, (-1, 50)).sum(1)
    torch.testing.assert_close(wrong, wrapped, rtol=0, atol=1e-10)
    assert (wrong - ours.kernel(50)).abs().max() > 0.01


def test_without_its_rank_it_is_a_diagonal():
    ours = mixer(init=linear)
    z = torch.exp(ours.log_dt)[:, None] * torch.complex(-ours.log_A_real.exp(), ours.A_imag) / 2
    B = torch.exp(ours.log_dt)[:, None] / (1 - z)
    powers = ((1 + z) / (1 - z))[..., None] ** torch.arange(200)
    want = 2 * torch.einsum("dh,dht->dt", torch.view_as_complex(ours.C) * B, powers).real
    torch.testing.assert_close(ours.kernel(200), want, rtol=0, atol=1e-11)


def test_an_input_sampled_twice_as_finely_gives_the_same_at_half_the_rate():
    ours = mixer(dt=(0.02, 0.05))
    coarse, errors = ours.kernel(100), []
    for finer in (2, 4, 8):
        ours.rate = 1 / finer
        errors.append((ours.kernel(100 * finer).unflatten(1, (100, finer)).sum(-1) - coarse).abs().max().item())
        coarse = ours.kernel(100 * finer).unflatten(1, (100, finer)).sum(-1)
    assert errors[0] < 0.1 * coarse.abs().max()
    assert errors[0] > 3 * errors[1] > 9 * errors[2]  # the bilinear rule is of second order


def test_training_keeps_it_stable():
    ours = mixer(2, 8).float()

    def batch(step):
        return torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(step))

    def grow(model, u):
        return -model(u)[0].square().mean().clamp(max=1e6), {}

    fit(ours, batch, grow, steps=20, lr=0.3, schedule=lambda step, steps: 1.0)
    eigenvalue = ours.transfer(1)[0]
    assert (eigenvalue.real < 0).all()
    assert (eigenvalue.real + 0.5).abs().max() > 0.1, "training moved nothing"
    assert torch.linalg.eigvals(ours.double().discrete()[0]).abs().max() < 1


def test_only_the_readout_is_decayed():
    ours = mixer().float()
    before = {name: value.clone() for name, value in ours.named_parameters()}

    def flat(model, u):
        return sum(p.sum() * 0 for p in model.parameters()), {}

    fit(ours, lambda step: None, flat, steps=5, lr=0.1, weight_decay=0.5)
    changed = {name for name, value in ours.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"C"}


def test_begins_as_published():
    torch.manual_seed(0)
    ours = DPLR(500, states=4)
    share = ((ours.log_dt - np.log(1e-3)) / np.log(100)).sort().values
    assert (share - torch.linspace(0, 1, 500)).abs().max() < 0.1
    torch.testing.assert_close(ours.log_A_real, torch.full((500, 2), np.log(0.5)).float())
    torch.testing.assert_close(torch.view_as_complex(ours.C).abs().square().mean(), torch.tensor(1.0), atol=0.1, rtol=0)


def test_float32_makes_the_same_kernel_to_five_digits():
    ours = mixer(8, 64)
    want = ours.kernel(4096)
    got = copy.deepcopy(ours).float().kernel(4096)
    assert (got - want).norm() / want.norm() < 1e-5


def test_the_state_has_one_size_and_keeps_no_chunk_alive():
    ours = mixer().float()
    with torch.no_grad():
        for N in (1, 2, 500):
            x = ours(torch.randn(2, N, 3))[1].x_BDS
            assert x.shape == (2, 3, 8) and x.untyped_storage().nbytes() == 2 * 3 * 8 * 4


def test_the_state_of_the_caller_is_left_as_it_was():
    ours = mixer()
    start = StateSpaceState(torch.randn(2, 3, 8, dtype=torch.float64))
    before = start.x_BDS.clone()
    for N in (1, 9):
        ours(torch.randn(2, N, 3, dtype=torch.float64), start)
    assert torch.equal(start.x_BDS, before)


def test_a_half_precision_input_is_filtered_in_float32():
    y, state = DPLR(3, states=4)(torch.randn(1, 9, 3).bfloat16())
    assert y.dtype == torch.bfloat16 and state.x_BDS.dtype == torch.float32


def transfer(**changes):
    parts = dict(zip(("eigenvalue_DH", "P_DH", "B_DH", "rest_DH", "dt_D"), mixer().transfer(9), strict=True))
    return dplr_kernel(**(parts | {"length": 9} | changes))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DPLR(3, states=7), "even number, got 7"),
        (lambda: DPLR(3, dt=(0.0, 0.1)), r"must be positive.*\(0\.0, 0\.1\)"),
        (lambda: DPLR(3, dt=(0.1, 0.01)), "lowest first"),
        (lambda: DPLR(3, rate=-1)(torch.ones(1, 1, 3)), "rate must be positive.*got -1"),
        (lambda: DPLR(3).half()(torch.ones(1, 4, 3)), r"log_dt is torch\.float16.*mixer\.float\(\)"),
        (lambda: transfer(rest_DH=torch.ones(3, 8, dtype=torch.complex128)), "one of each conjugate pair"),
        (lambda: transfer(rest_DH=torch.ones(4, dtype=torch.complex128)), "one of each conjugate pair"),
        (lambda: transfer(eigenvalue_DH=torch.ones(3, 4).double()), "needs complex64 or complex128"),
        (lambda: transfer(dt_D=torch.zeros(3).double()), "steps must be positive"),
        (lambda: transfer(eigenvalue_DH=torch.ones(3, 4, dtype=torch.complex128)), "real parts.*negative"),
        (lambda: mixer().kernel(0), "length must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
