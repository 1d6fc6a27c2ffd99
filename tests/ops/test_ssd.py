"""Oracles: linear attention with gates, the chunked scan of transformers, autograd through the loop."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from seefar.ops import linear_attention
from seefar.ops.ssd import BACKENDS, ssd
from seefar.testing import check_op


def inputs(N, Bt=2, H=4, P=3, G=2, S=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(N)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "x": draw(Bt, N, H, P),
        "dt": draw(Bt, N, H).exp() * 0.3,
        "A": -draw(H).exp(),
        "B": draw(Bt, N, G, S),
        "C": draw(Bt, N, G, S),
        "D": draw(H),
        "h0": draw(Bt, H, P, S),
    }


def without(given, *names):
    return {name: value for name, value in given.items() if name not in names}


def test_backends_agree_with_the_loop_in_outputs_state_and_gradients():
    check_op(ssd, BACKENDS, inputs, lengths=(1, 2, 63, 64, 100))


@pytest.mark.parametrize("groups", [1, 4])
def test_groups_and_what_is_left_out(groups):
    check_op(ssd, BACKENDS, lambda N: without(inputs(N, G=groups), "D", "h0"), lengths=(65,))


def test_chunks_taken_one_by_one_or_together_are_the_same(monkeypatch):
    given = inputs(333)
    want = ssd(**given, backend="reference")
    for at_once in (1, 2**30):
        monkeypatch.setattr(BACKENDS["chunked"], "AT_ONCE", at_once)
        for got, one in zip(ssd(**given, backend="chunked"), want, strict=True):
            torch.testing.assert_close(got, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_head_is_linear_attention_with_gates(backend):
    given = inputs(70)
    q, k = (given[name].repeat_interleave(2, 2).transpose(1, 2) for name in "CB")
    values = (given["x"] * given["dt"][..., None]).transpose(1, 2)
    gates = (given["dt"] * given["A"]).exp().transpose(1, 2)
    o, state = linear_attention(q, k, values, given["h0"].mT, decay=gates, backend="reference")
    y, h = ssd(**given, backend=backend)
    torch.testing.assert_close(y, o.transpose(1, 2) + given["D"][:, None] * given["x"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(h.mT, state, rtol=1e-10, atol=1e-10)


def test_equals_the_chunked_scan_of_transformers():
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    given = inputs(100, dtype=torch.float32)
    other = {"hidden_states": given["x"], "initial_states": given["h0"], **without(given, "x", "h0")}
    want, state = mamba2_chunk_scan(**other, chunk_size=16, return_final_states=True)
    y, h = ssd(**given)
    torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(h, state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_with_the_state_carried_over_equal_the_whole(backend):
    given = inputs(101)
    y, end = ssd(**given, backend=backend)
    for size in (1, 7, 64, 100):
        state, rows = given["h0"], []
        for piece in zip(*(given[name].split(size, 1) for name in ("x", "dt", "B", "C")), strict=True):
            x, dt, B, C = piece
            row, state = ssd(x, dt, given["A"], B, C, given["D"], state, backend=backend)
            rows.append(row)
        torch.testing.assert_close(torch.cat(rows, 1), y, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(state, end, rtol=1e-11, atol=1e-11)


def test_chunked_has_the_gradients_of_finite_differences_twice():
    given = [value.requires_grad_() for value in inputs(5, Bt=1, H=2, P=1, G=1, S=2).values()]
    assert gradcheck(lambda *parts: ssd(*parts, backend="chunked"), given)
    assert gradgradcheck(lambda *parts: ssd(*parts, backend="chunked")[0], given)


def test_in_float32_a_decay_near_one_survives_behind_a_step_that_forgets_everything():
    N = 64
    dt = torch.full((1, N, 1), 1e-3)
    dt[:, 1] = 1e6
    one = torch.ones(1, N, 1, 1)
    y, h = ssd(one, dt, -torch.ones(1), one, one)
    want, end = ssd(one.double(), dt.double(), -torch.ones(1).double(), one.double(), one.double(), backend="reference")
    torch.testing.assert_close(y.double(), want, rtol=1e-6, atol=0)
    torch.testing.assert_close(h.double(), end, rtol=1e-6, atol=0)


def test_no_tokens_leave_the_state_as_it_is():
    given = inputs(0)
    y, h = ssd(**given)
    assert y.shape == (2, 0, 4, 3) and h is given["h0"]


def test_misfits_are_refused_with_what_to_do():
    given = inputs(4)
    with pytest.raises(ValueError, match=r"4 heads cannot share 3 groups"):
        ssd(**{**given, "B": torch.ones(2, 4, 3, 5)})
    with pytest.raises(ValueError, match=r"dt must be \(2, 4, 4\).*got \(2, 4\)"):
        ssd(**{**given, "dt": torch.ones(2, 4)})
    with pytest.raises(ValueError, match=r"h0 must be \(2, 4, 3, 5\)"):
        ssd(**{**given, "h0": given["h0"].mT})
    with pytest.raises(ValueError, match=r"call A.to\(x\)"):
        ssd(**{**given, "A": given["A"].float()})
    with pytest.raises(ValueError, match=r"x must be \(Bt, N, H, P\)"):
        ssd(**{**given, "x": torch.ones(2, 4, 12)})
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*chunked"):
        ssd(**given, backend="cuda")
