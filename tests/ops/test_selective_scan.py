"""Oracles: transformers' Mamba mixer and mambapy's parallel scan (other people's code), finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import softplus

from seefar.evals.race import cores
from seefar.ops.selective_scan import BACKENDS, selective_scan
from seefar.testing import check_op

OPTIONAL = ("D", "z", "h0")


def inputs(N, D=70, S=5, Bt=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(N)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": draw(Bt, N, D),
        "dt": draw(Bt, N, D).exp() * 0.1,
        "A": -draw(D, S).exp(),
        "B": draw(Bt, N, S),
        "C": draw(Bt, N, S),
        "D": draw(D),
        "z": draw(Bt, N, D),
        "h0": draw(Bt, D, S),
    }


@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("h0",), OPTIONAL])
def test_backends_agree_in_outputs_last_state_and_every_gradient(left_out):
    check_op(selective_scan, BACKENDS, lambda N: {k: v for k, v in inputs(N).items() if k not in left_out})


@pytest.mark.parametrize(("D", "S", "Bt"), [(1, 1, 1), (64, 16, 1), (65, 3, 3)])
def test_widths_around_a_block_of_channels_agree(D, S, Bt):
    check_op(selective_scan, BACKENDS, lambda N: inputs(N, D, S, Bt), lengths=(1, 31, 32, 33))


@pytest.mark.parametrize(("threads", "Bt"), [(2, 1), (3, 2), (9, 1)])
def test_a_row_in_parts_for_several_threads_agrees(threads, Bt):
    with cores(threads):
        check_op(selective_scan, BACKENDS, lambda N: inputs(N, 200, 3, Bt), lengths=(9, 33))


def test_gradients_match_finite_differences():
    given = [value.requires_grad_() for value in inputs(5, 2, 2, 1).values()]
    assert gradcheck(lambda *x: selective_scan(*x, backend="numba"), given)


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_with_the_state_carried_over_equal_the_whole_with_gradients(backend):
    given = {key: value.requires_grad_() for key, value in inputs(70, 5, 3).items()}
    y, end = selective_scan(**given, backend=backend)
    weight = torch.randn_like(y)
    want = torch.autograd.grad((y * weight).sum() + end.square().sum(), list(given.values()))
    for size in (1, 33, 69):
        state, outs = given["h0"], []
        for start in range(0, 70, size):
            piece = {k: v[:, start : start + size] if k in ("u", "dt", "B", "C", "z") else v for k, v in given.items()}
            out, state = selective_scan(**piece | {"h0": state}, backend=backend)
            outs.append(out)
        whole = torch.cat(outs, 1)
        torch.testing.assert_close((whole, state), (y, end), rtol=1e-11, atol=1e-11)
        got = torch.autograd.grad((whole * weight).sum() + state.square().sum(), list(given.values()))
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_it_is_the_scan_inside_the_mamba_mixer_of_transformers():
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    config = MambaConfig(hidden_size=24, state_size=6, num_hidden_layers=1, time_step_rank=4)
    mixer = MambaMixer(config, layer_idx=0).double()
    with torch.no_grad():
        mixer.A_log.normal_()
        mixer.D.normal_()
    x = torch.randn(2, 37, 24, dtype=torch.float64, requires_grad=True)
    want = mixer(x)

    u, z = mixer.in_proj(x).chunk(2, -1)
    u = torch.nn.functional.silu(mixer.conv1d(u.mT)[..., :37]).mT
    low, B, C = mixer.x_proj(u).split([4, 6, 6], -1)
    for backend in BACKENDS:
        y, _ = selective_scan(u, softplus(mixer.dt_proj(low)), -mixer.A_log.exp(), B, C, mixer.D, z, backend=backend)
        got = mixer.out_proj(y)
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-8)  # the mixer's own state is float32
        weights = [x, mixer.A_log, mixer.D, mixer.x_proj.weight, mixer.dt_proj.weight, mixer.in_proj.weight]
        gradients = [torch.autograd.grad(out.square().sum(), weights, retain_graph=True) for out in (got, want)]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_mambapys_parallel_scan(backend):
    from mambapy.pscan import pscan

    given = inputs(96, 12, 4)
    u, dt, A, B, C = (given[key].requires_grad_() for key in ("u", "dt", "A", "B", "C"))
    h = pscan(torch.exp(dt[..., None] * A), dt[..., None] * B[:, :, None] * u[..., None])
    want = (h @ C[..., None])[..., 0]
    got, _ = selective_scan(u, dt, A, B, C, backend=backend)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    gradients = [torch.autograd.grad(out.square().sum(), (u, dt, A, B, C)) for out in (got, want)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_float32_stays_within_a_hundred_thousandth_of_float64_over_4096_tokens():
    given = inputs(4096, 16, 16, 1, torch.float32)
    given["A"] = -torch.arange(1.0, 17).repeat(16, 1) * 0.01  # slow decay: errors have time to add up
    exact = {key: value.double().requires_grad_() for key, value in given.items()}
    given = {key: value.requires_grad_() for key, value in given.items()}
    y, end = selective_scan(**given, backend="numba")
    want_y, want_end = selective_scan(**exact, backend="numba")
    gradients = torch.autograd.grad(y.square().sum(), list(given.values()))
    wanted = torch.autograd.grad(want_y.square().sum(), list(exact.values()))
    for got, want in zip([y, end, *gradients], [want_y, want_end, *wanted], strict=True):
        assert (got - want).norm() / want.norm() < 1e-5


def test_vast_steps_forget_and_never_overflow():
    given = inputs(40, 8, 4, 1, torch.float32)
    given["dt"] = given["dt"] * 1e4
    given["z"] = given["z"] * 1e4
    y, end = selective_scan(**given, backend="numba")
    want_y, want_end = selective_scan(**given, backend="reference")
    torch.testing.assert_close((y, end), (want_y, want_end), rtol=1e-5, atol=1e-6)


def test_not_a_number_shows_in_its_channel_and_nowhere_else():
    given = inputs(50, 70, 4, 1, torch.float32)
    given["u"][0, 20, 3] = math.nan
    y, end = selective_scan(**given, backend="numba")
    assert y[0, 20:, 3].isnan().all() and end[0, 3].isnan().all()
    y[0, 20:, 3] = 0
    assert y.isfinite().all()


def test_strided_inputs_give_the_same_as_packed_ones():
    given = inputs(35, 6, 4)
    both = torch.randn(2, 35, 12, dtype=torch.float64)
    u, z = both.chunk(2, -1)
    strided = given | {"u": u, "z": z, "A": given["A"].mT.contiguous().mT}
    packed = {key: value.contiguous() for key, value in strided.items()}
    got, want = selective_scan(**strided, backend="numba"), selective_scan(**packed, backend="reference")
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_only_the_gradients_asked_for_need_exist():
    given = inputs(20, 4, 3)
    given["A"].requires_grad_()
    y, _ = selective_scan(**given, backend="numba")
    want, _ = selective_scan(**given, backend="reference")
    got = [torch.autograd.grad(out.square().sum(), given["A"])[0] for out in (y, want)]
    torch.testing.assert_close(*got, rtol=1e-10, atol=1e-10)


def test_many_threads_give_what_one_gives():
    given = inputs(64, 300, 16, 2, torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(selective_scan(**given, backend="numba"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, many) for one, many in zip(*results, strict=True))


def test_no_tokens_leave_the_state_as_it_was():
    given = inputs(3)
    empty = {k: v[:, :0] if k in ("u", "dt", "B", "C", "z") else v for k, v in given.items()}
    y, end = selective_scan(**empty)
    assert y.shape == (2, 0, 70)
    assert torch.equal(end, given["h0"])


def test_misfits_are_refused_with_what_to_do():
    given = inputs(4, 6, 3)
    with pytest.raises(ValueError, match=r"B must be \(2, 4, 3\).*got \(2, 3, 4\)"):
        selective_scan(**given | {"B": given["B"].mT})
    with pytest.raises(ValueError, match=r"z is torch.float32.*call z.to\(u\)"):
        selective_scan(**given | {"z": given["z"].float()})
    with pytest.raises(ValueError, match=r"u must be \(Bt, N, D\)"):
        selective_scan(**given | {"u": given["u"][0]})
    with pytest.raises(ValueError, match=r"unknown backend 'triton'"):
        selective_scan(**given, backend="triton")
    half = {key: value.bfloat16() for key, value in given.items()}
    with pytest.raises(RuntimeError, match=r"needs float32 or float64, got torch.bfloat16"):
        selective_scan(**half, backend="numba")
    assert selective_scan(**half)[0].dtype == torch.bfloat16
