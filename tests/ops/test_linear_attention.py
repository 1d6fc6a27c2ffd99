"""Oracle: the sum over all pairs of tokens written out with explicit products of the decays; finite differences."""

import pytest
import torch
from torch.autograd import gradcheck

from seefar.ops import explain
from seefar.ops.linear_attention import BACKENDS, chunked, linear_attention
from seefar.testing import check_op

DECAYS = ["none", "head", "gates"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 16, so that a hundred tokens cross many borders."""
    monkeypatch.setattr(chunked, "CHUNK", 16)


def inputs(N, decay="none", B=2, H=3, d=4, dv=5):
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (B, H, N, d), "k": (B, H, N, d), "v": (B, H, N, dv), "state": (B, H, d, dv)}
    given = {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}
    if decay != "none":
        shape = (H,) if decay == "head" else (B, H, N)
        given["decay"] = 0.5 + 0.5 * torch.rand(*shape, generator=generator, dtype=torch.float64)
    return given


def pairs(q, k, v, state, decay=None, causal=True):
    """The definition without a recurrence: (o, final state), one factor for every pair of tokens."""
    B, H, N, _ = q.shape
    gates = torch.ones(B, H, N, dtype=q.dtype) if decay is None else decay
    gates = gates[None, :, None].expand(B, H, N) if gates.ndim == 1 else gates
    between = q.new_zeros(B, H, N, N)
    for i in range(N):
        for j in range(i + 1 if causal else N):
            between[:, :, i, j] = gates[:, :, min(i, j) + 1 : max(i, j) + 1].prod(-1)
    since = torch.stack([gates[:, :, : i + 1].prod(-1) for i in range(N)], -1)
    o = torch.einsum("bhid,bhjd,bhij,bhje->bhie", q, k, between, v)
    o = o + torch.einsum("bhid,bhi,bhde->bhie", q, since, state)
    end = since[..., -1, None, None] * state + torch.einsum("bhjd,bhj,bhje->bhde", k, between[:, :, -1], v)
    return o, end


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("decay", DECAYS)
def test_backends_agree_in_outputs_states_and_gradients(decay, causal):
    check_op(linear_attention, BACKENDS, lambda N: inputs(N, decay), lengths=(1, 2, 16, 63, 64, 100), causal=causal)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("decay", DECAYS)
def test_every_backend_is_the_sum_over_pairs_with_its_gradients(backend, decay, causal):
    given = {key: value.requires_grad_() for key, value in inputs(37, decay).items()}
    weights = torch.randn(2, 3, 37, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    results = []
    for o, end in (linear_attention(**given, causal=causal, backend=backend), pairs(**given, causal=causal)):
        loss = (o * weights[0]).sum() + (end * weights[1]).sum()
        results.append((o, end, *torch.autograd.grad(loss, list(given.values()))))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", DECAYS)
def test_chunks_with_the_state_carried_over_equal_the_whole(backend, decay):
    given = inputs(70, decay)
    o, end = linear_attention(**given, backend=backend)
    for size in (1, 7, 16, 69):
        state, outs = given["state"], []
        for start in range(0, 70, size):
            part = {key: value[:, :, start : start + size] for key, value in given.items() if value.ndim > 2}
            out, state = linear_attention(**given | part | {"state": state}, backend=backend)
            outs.append(out)
        torch.testing.assert_close((torch.cat(outs, 2), state), (o, end), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("causal", [True, False])
def test_a_gate_of_zero_forgets_everything_and_still_has_its_gradient(backend, causal):
    given = inputs(40, "gates")
    given["decay"][:, :, [0, 16, 23]] = 0
    given = {key: value.requires_grad_() for key, value in given.items()}
    got = torch.autograd.grad(
        linear_attention(**given, causal=causal, backend=backend)[0].square().sum(), given.values()
    )
    want = torch.autograd.grad(pairs(**given, causal=causal)[0].square().sum(), given.values())
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    assert (got[-1][:, :, 23] != 0).all()


@pytest.mark.parametrize("decay", DECAYS)
def test_gradients_match_finite_differences(decay):
    given = {key: value[:1].requires_grad_() for key, value in inputs(5, decay, H=1, d=2, dv=2).items()}
    for causal in (True, False):
        assert gradcheck(
            lambda *x, causal=causal: linear_attention(**dict(zip(given, x, strict=True)), causal=causal),
            tuple(given.values()),
        )


def test_gates_that_are_all_equal_are_the_decay_of_the_head():
    given = inputs(50, "head")
    gates = given | {"decay": given["decay"][None, :, None].expand(2, 3, 50)}
    torch.testing.assert_close(linear_attention(**gates), linear_attention(**given), rtol=1e-12, atol=1e-12)


def test_a_column_of_ones_in_the_values_gives_weights_that_sum_to_one():
    given = {key: value.exp() for key, value in inputs(30).items() if key != "state"}
    ones = torch.ones(2, 3, 30, 1, dtype=torch.float64)
    o, _ = linear_attention(given["q"], given["k"], torch.cat([given["v"], ones], -1))
    weights = (given["q"] @ given["k"].mT).tril()
    want = weights / weights.sum(-1, keepdim=True) @ given["v"]
    torch.testing.assert_close(o[..., :-1] / o[..., -1:], want, rtol=1e-11, atol=1e-11)


def test_half_precision_is_summed_in_float32():
    given = {key: value.bfloat16() for key, value in inputs(2000, B=1).items() if key != "state"}
    decay = torch.tensor([1 - 2**-12, 0.99, 0.5])
    o, end = linear_attention(**given, decay=decay)
    assert (o.dtype, end.dtype) == (torch.bfloat16, torch.float32)
    want, want_end = linear_attention(**{key: x.double() for key, x in given.items()}, decay=decay.double())
    assert (o - want).norm() / want.norm() < 2**-8
    assert (end - want_end).norm() / want_end.norm() < 1e-5


@pytest.mark.parametrize("decay", DECAYS)
def test_strided_inputs_give_the_same_as_packed_ones(decay):
    given = {
        key: value.transpose(1, 2).contiguous().transpose(1, 2) if value.ndim == 4 else value
        for key, value in inputs(33, decay).items()
    }
    torch.testing.assert_close(linear_attention(**given), linear_attention(**inputs(33, decay)), rtol=1e-12, atol=1e-12)


def test_no_tokens_give_the_state_back():
    given = inputs(0)
    o, end = linear_attention(**given)
    assert o.shape == (2, 3, 0, 5) and torch.equal(end, given["state"])


def test_memory_grows_with_the_tokens_not_with_their_square():
    from torch.autograd.graph import saved_tensors_hooks

    def kept(N):
        sizes = []
        given = {key: value.requires_grad_() for key, value in inputs(N, "gates", B=1, H=1).items()}
        with saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
            linear_attention(**given)
        return sum(sizes)

    assert kept(512) < 2.5 * kept(256)


def test_misfits_are_refused_with_what_to_do():
    given = inputs(8, "gates")
    with pytest.raises(ValueError, match=r"got q \(2, 3, 8, 4\), k \(2, 3, 8, 4\), v \(2, 3, 7, 5\)"):
        linear_attention(**given | {"v": given["v"][:, :, :7]})
    with pytest.raises(ValueError, match=r"state must be \(2, 3, 4, 5\).*got \(2, 3, 5, 4\)"):
        linear_attention(**given | {"state": given["state"].mT})
    with pytest.raises(ValueError, match=r"decay must be \(3,\), one for each head, or \(2, 3, 8\).*got \(2, 3\)"):
        linear_attention(**given | {"decay": given["decay"][..., 0]})
    with pytest.raises(ValueError, match=r"one dtype and device.*k torch.float32"):
        linear_attention(**given | {"k": given["k"].float()})
    half = {key: value.bfloat16() for key, value in given.items()}
    with pytest.raises(ValueError, match=r"call state.to\(torch.float32\)"):
        linear_attention(**half)
    with pytest.raises(ValueError, match=r"call decay.to\(torch.float32\)"):
        linear_attention(**half | {"state": None})
    with pytest.raises(ValueError, match=r"unknown backend 'fla'.*chunked"):
        linear_attention(**given, backend="fla")
    with pytest.raises(RuntimeError, match=r"needs a floating dtype, got torch.int64"):
        linear_attention(*torch.ones(3, 1, 1, 2, 2, dtype=torch.int64), backend="chunked")
    assert explain("linear_attention", given["q"]).splitlines()[0] == "linear_attention.chunked: runs"
