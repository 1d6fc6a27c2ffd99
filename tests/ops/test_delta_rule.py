"""Oracles: the products of all transitions written out, transformers' two forms of the rule, finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from seefar.ops import explain
from seefar.ops.delta_rule import BACKENDS, chunked, delta_rule
from seefar.ops.linear_attention import linear_attention
from seefar.testing import check_op

DECAYS = ["none", "head", "gates"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 16, so that a hundred tokens cross many borders."""
    monkeypatch.setattr(chunked, "CHUNK", 16)


def inputs(N, decay="gates", B=2, H=3, d=4, dv=5):
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (B, H, N, d), "k": (B, H, N, d), "v": (B, H, N, dv), "state": (B, H, d, dv)}
    given = {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}
    given["k"] = F.normalize(given["k"], dim=-1)
    given["beta"] = torch.rand(B, H, N, generator=generator, dtype=torch.float64)
    if decay != "none":
        shape = (H,) if decay == "head" else (B, H, N)
        given["decay"] = 0.5 + 0.5 * torch.rand(*shape, generator=generator, dtype=torch.float64)
    return given


def products(q, k, v, beta, state, decay=None):
    """The definition without a recurrence: every write meets the product of all transitions behind it."""
    (B, H, N, d), eye = q.shape, torch.eye(q.shape[3], dtype=q.dtype)
    gates = q.new_ones(B, H, N) if decay is None else decay[None, :, None].expand(B, H, N) if decay.ndim == 1 else decay
    steps = gates[..., None, None] * (eye - beta[..., None, None] * k[..., :, None] * k[..., None, :])
    writes = beta[..., None, None] * k[..., :, None] * v[..., None, :]
    rows = []
    for i in range(N):
        after, S = eye.expand(B, H, d, d), 0
        for j in range(i, -1, -1):
            S = S + after @ writes[:, :, j]
            after = after @ steps[:, :, j]
        S = S + after @ state
        rows.append((q[:, :, i, None] @ S)[:, :, 0])
    return torch.stack(rows, 2), S


def gradients(results, given):
    weights = (torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype) for out in results)
    loss = sum((out * weight).sum() for out, weight in zip(results, weights, strict=True))
    return torch.autograd.grad(loss, list(given.values()))


@pytest.mark.parametrize("decay", DECAYS)
def test_backends_agree_in_outputs_states_and_gradients(decay):
    check_op(delta_rule, BACKENDS, lambda N: inputs(N, decay), lengths=(1, 2, 16, 64, 100))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", DECAYS)
def test_every_backend_is_the_product_of_transitions_with_its_gradients(backend, decay):
    given = {key: value.requires_grad_() for key, value in inputs(19, decay).items()}
    results = [(*out, *gradients(out, given)) for out in (delta_rule(**given, backend=backend), products(**given))]
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", DECAYS)
def test_chunks_with_the_state_carried_over_equal_the_whole(backend, decay):
    given = inputs(70, decay)
    whole = delta_rule(**given, backend=backend)
    for size in (1, 7, 16, 69):
        state, outs = given["state"], []
        for start in range(0, 70, size):
            part = {key: value[:, :, start : start + size] for key, value in given.items() if value.ndim > 2}
            out, state = delta_rule(**given | part | {"state": state}, backend=backend)
            outs.append(out)
        torch.testing.assert_close((torch.cat(outs, 2), state), whole, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_equals_transformers_with_its_gradients(form):
    from transformers.models.qwen3_next import modeling_qwen3_next

    theirs = getattr(modeling_qwen3_next, f"torch_{form}_gated_delta_rule")
    given = {key: value.float().requires_grad_() for key, value in inputs(100, d=16, dv=8).items()}
    rows = {key: value.transpose(1, 2) for key, value in given.items() if key != "state"}
    want, want_end = theirs(
        rows["q"] * 4,  # it divides by the root of d
        rows["k"],
        rows["v"],
        rows["decay"].log(),
        rows["beta"],
        initial_state=given["state"],
        output_final_state=True,
    )
    want = want.transpose(1, 2), want_end
    got = delta_rule(**given)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(got, given), gradients(want, given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", DECAYS)
def test_a_key_that_is_written_again_holds_its_last_value(backend, decay):
    given = inputs(100, decay, B=1, H=3, d=8)
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    which = torch.randint(8, (100,), generator=torch.Generator().manual_seed(1))
    given["k"] = basis[which].expand(1, 3, 100, 8)
    given["q"] = given["k"].roll(1, 2)  # a token asks for what the one before it wrote
    given["beta"] = torch.ones_like(given["beta"])
    o, end = delta_rule(**given, backend=backend)
    gates = given.get("decay", torch.ones(3, dtype=torch.float64))
    gates = (gates[None, :, None] if gates.ndim == 1 else gates).expand(1, 3, 100)
    for key in range(8):
        last = int((which == key).nonzero()[-1])
        fade = gates[:, :, last + 1 :].prod(-1, keepdim=True)
        held = (basis[key, None] @ end)[:, :, 0]
        torch.testing.assert_close(held, fade * given["v"][:, :, last], rtol=1e-12, atol=1e-12)
    before = torch.where(
        (which[1:] == which[:-1])[:, None], given["v"][:, :, 1:], gates[:, :, 1:, None] * given["v"][:, :, :-1]
    )
    torch.testing.assert_close(o[:, :, 1:], before, rtol=1e-12, atol=1e-12)
    summed, _ = linear_attention(given["q"], given["k"], given["v"], given["state"], decay=given.get("decay"))
    assert (summed - o).norm() > 0.3 * o.norm()


@pytest.mark.parametrize("decay", DECAYS)
def test_orthogonal_keys_leave_linear_attention(decay):
    given = inputs(40, decay, d=40)
    given["k"] = torch.linalg.qr(given["k"])[0]
    given["state"] = torch.zeros_like(given["state"])
    beta = given.pop("beta")
    want = linear_attention(**given | {"v": beta[..., None] * given["v"]})
    torch.testing.assert_close(delta_rule(**given, beta=beta), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("decay", DECAYS)
def test_a_strength_of_zero_reads_what_is_left_of_the_state(decay):
    given = inputs(40, decay)
    beta = torch.zeros_like(given.pop("beta"))
    want = linear_attention(**given | {"v": torch.zeros_like(given["v"])})
    torch.testing.assert_close(delta_rule(**given, beta=beta), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gate_of_zero_forgets_everything_and_still_has_its_gradient(backend):
    given = inputs(20)
    given["decay"][:, :, [0, 13, 16]] = 0
    given = {key: value.requires_grad_() for key, value in given.items()}
    got = gradients(delta_rule(**given, backend=backend), given)
    torch.testing.assert_close(got, gradients(products(**given), given), rtol=1e-10, atol=1e-10)
    assert (got[-1][:, :, 13] != 0).all()


@pytest.mark.parametrize("decay", DECAYS)
def test_gradients_match_finite_differences(decay, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 2)
    given = {key: value[:1].requires_grad_() for key, value in inputs(3, decay, H=1, d=2, dv=2).items()}
    assert gradcheck(lambda *x: delta_rule(**dict(zip(given, x, strict=True))), tuple(given.values()))


def test_gradients_of_gradients_match_finite_differences(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 2)
    given = {key: value[:1].requires_grad_() for key, value in inputs(3, H=1, d=2, dv=2).items()}
    assert gradgradcheck(
        lambda *x: delta_rule(**dict(zip(given, x, strict=True))), tuple(given.values()), fast_mode=True
    )


def test_float32_stays_exact_where_all_keys_are_nearly_one(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 64)
    given = inputs(500, "none", B=1, H=1, d=16)
    given["k"] = F.normalize(1 + 0.1 * given["k"], dim=-1)
    given["beta"] = torch.ones_like(given["beta"])
    want = delta_rule(**given, backend="reference")
    for got, exact in zip(delta_rule(**{key: x.float() for key, x in given.items()}), want, strict=True):
        assert (got - exact).norm() / exact.norm() < 1e-5


def test_half_precision_is_kept_in_float32():
    given = {key: value.bfloat16() for key, value in inputs(2000, "none", B=1).items() if key != "state"}
    decay = torch.tensor([1 - 2**-12, 0.99, 0.5])
    o, end = delta_rule(**given, decay=decay)
    assert (o.dtype, end.dtype) == (torch.bfloat16, torch.float32)
    want, want_end = delta_rule(**{key: x.double() for key, x in given.items()}, decay=decay.double())
    assert (o - want).norm() / want.norm() < 2**-8
    assert (end - want_end).norm() / want_end.norm() < 1e-5


def test_strided_inputs_give_the_same_as_packed_ones():
    given = {key: value.transpose(1, 2).contiguous().transpose(1, 2) for key, value in inputs(33).items()}
    torch.testing.assert_close(delta_rule(**given), delta_rule(**inputs(33)), rtol=1e-12, atol=1e-12)


def test_no_tokens_give_the_state_back():
    given = inputs(0)
    o, end = delta_rule(**given)
    assert o.shape == (2, 3, 0, 5) and torch.equal(end, given["state"])


def test_memory_grows_with_the_tokens_not_with_their_square():
    from torch.autograd.graph import saved_tensors_hooks

    def kept(N):
        sizes = []
        given = {key: value.requires_grad_() for key, value in inputs(N, B=1, H=1).items()}
        with saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
            delta_rule(**given)
        return sum(sizes)

    assert kept(512) < 2.5 * kept(256)


def test_misfits_are_refused_with_what_to_do():
    given = inputs(8)
    with pytest.raises(ValueError, match=r"got q \(2, 3, 8, 4\), k \(2, 3, 8, 4\), v \(2, 3, 7, 5\)"):
        delta_rule(**given | {"v": given["v"][:, :, :7]})
    with pytest.raises(ValueError, match=r"beta must be \(2, 3, 8\).*got \(2, 3, 8, 1\)"):
        delta_rule(**given | {"beta": given["beta"][..., None]})
    with pytest.raises(ValueError, match=r"state must be \(2, 3, 4, 5\).*got \(2, 3, 5, 4\)"):
        delta_rule(**given | {"state": given["state"].mT})
    with pytest.raises(ValueError, match=r"decay must be \(3,\) or \(2, 3, 8\).*got \(2, 3\)"):
        delta_rule(**given | {"decay": given["decay"][..., 0]})
    with pytest.raises(ValueError, match=r"k is torch.float32.*call k.to\(torch.float64\)"):
        delta_rule(**given | {"k": given["k"].float()})
    half = {key: value.bfloat16() for key, value in given.items()}
    with pytest.raises(ValueError, match=r"call state.to\(torch.float32\)"):
        delta_rule(**half)
    with pytest.raises(ValueError, match=r"call decay.to\(torch.float32\)"):
        delta_rule(**half | {"state": None})
    with pytest.raises(ValueError, match=r"unknown backend 'fla'.*chunked"):
        delta_rule(**given, backend="fla")
    whole = torch.ones(3, 1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=r"needs a floating dtype, got torch.int64"):
        delta_rule(*whole, torch.ones(1, 1, 2, dtype=torch.int64), backend="chunked")
    assert explain("delta_rule", given["q"]).splitlines()[0] == "delta_rule.chunked: runs"
