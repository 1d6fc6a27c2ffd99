"""Oracles: PyTorch's SDPA, a dense softmax over masks written out pair by pair, finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention

from seefar.ops.attention import BACKENDS, attention, tiled
from seefar.testing import check_op

EXACT = {"tiled": BACKENDS["tiled"], "reference": BACKENDS["reference"]}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 16, so that a hundred tokens cross many borders."""
    monkeypatch.setattr(tiled, "TILE", 16)
    monkeypatch.setattr(tiled, "SMALLEST_TILE", 4)


def inputs(N, M=None, H=4, Hkv=2, d=6, dv=5):
    M = N if M is None else M
    generator = torch.Generator().manual_seed(N + M)
    shapes = {"q": (2, H, N, d), "k": (2, Hkv, M, d), "v": (2, Hkv, M, dv)}
    return {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}


def dense(q, k, v, *, causal=False, window=None, segments=None, scale=None):
    """The definition, one pair of query and key at a time."""
    (B, H, N, d), (_, Hkv, M, _) = q.shape, k.shape
    o, lse = q.new_zeros(B, H, N, v.shape[-1]), q.new_full((B, H, N), -math.inf)
    for b in range(B):
        for i in range(N):
            at = i + M - N
            seen = [
                j
                for j in range(M)
                if (not causal or j <= at)
                and (window is None or abs(at - j) < window)
                and (segments is None or segments[0][b, i] == segments[1][b, j])
            ]
            for h in range(H if seen else 0):
                scores = (k[b, h * Hkv // H, seen] @ q[b, h, i]) * (d**-0.5 if scale is None else scale)
                o[b, h, i] = scores.softmax(0) @ v[b, h * Hkv // H, seen]
                lse[b, h, i] = scores.logsumexp(0)
    return o, lse


RULES = [{}, {"causal": True}, {"causal": True, "window": 7}, {"window": 1}, {"window": 20}, {"scale": 0.3}]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(("N", "M"), [(21, 21), (5, 33), (33, 5), (1, 40), (40, 1)])
@pytest.mark.parametrize("split", [False, True])
def test_every_backend_follows_the_definition(rules, N, M, split):
    given = inputs(N, M)
    if split:
        generator = torch.Generator().manual_seed(7)
        rules = rules | {"segments": tuple(torch.randint(0, 3, (2, n), generator=generator) for n in (N, M))}
    o, lse = dense(**given, **rules)
    for name in EXACT:
        got = attention(**given, **rules, return_lse=True, backend=name)
        torch.testing.assert_close(got, (o, lse), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(attention(**given, **rules), o, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("rules", RULES)
def test_backends_agree_in_outputs_and_gradients(rules):
    check_op(attention, BACKENDS, inputs, **rules)
    check_op(attention, EXACT, inputs, return_lse=True, **rules)


@pytest.mark.parametrize("rules", RULES)
def test_a_chunk_of_queries_beside_a_longer_cache_agrees(rules):
    check_op(attention, BACKENDS, lambda N: inputs(N, N + 37), lengths=(1, 16, 30), **rules)


@pytest.mark.parametrize("rules", RULES)
def test_packed_films_give_what_each_film_alone_gives(rules):
    given = inputs(60)
    films = [17, 1, 42]
    segments = torch.repeat_interleave(torch.tensor([4, 9, 2]), torch.tensor(films)).expand(2, -1)
    alone = [
        dict(zip("qkv", parts, strict=True)) for parts in zip(*(given[x].split(films, 2) for x in "qkv"), strict=True)
    ]
    want = torch.cat([attention(**film, **rules, backend="reference") for film in alone], 2)
    for name in BACKENDS:
        got = attention(**given, segments=segments, **rules, backend=name)
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    check_op(attention, BACKENDS, lambda N: inputs(60), lengths=(60,), segments=segments, **rules)


@pytest.mark.parametrize("name", EXACT)
def test_queries_without_a_key_give_zero_minus_infinity_and_no_gradient(name):
    given = {key: value.requires_grad_() for key, value in inputs(30).items()}
    lonely = torch.zeros(2, 30, dtype=torch.int64)
    lonely[:, ::3] = 5
    o, lse = attention(**given, segments=(lonely, torch.zeros_like(lonely)), return_lse=True, backend=name)
    assert (o[:, :, ::3] == 0).all() and (lse[:, :, ::3] == -math.inf).all() and lse[:, :, 1::3].isfinite().all()
    dq, dk, dv = torch.autograd.grad(o.square().sum() + lse[:, :, 1::3].sum(), list(given.values()))
    assert (dq[:, :, ::3] == 0).all() and (dq[:, :, 1] != 0).all()
    assert dk.isfinite().all() and dv.isfinite().all()
    (through_lse,) = torch.autograd.grad(
        attention(**given, segments=(lonely, lonely + 9), return_lse=True, backend=name)[1].sum(), given["q"]
    )
    assert (through_lse == 0).all()


@pytest.mark.parametrize("name", EXACT)
def test_no_keys_at_all_give_zeros(name):
    o, lse = attention(**inputs(3, 0), return_lse=True, backend=name)
    assert o.shape == (2, 4, 3, 5) and (o == 0).all() and (lse == -math.inf).all()


@pytest.mark.parametrize("causal", [False, True])
def test_equals_scaled_dot_product_attention_with_gradients(causal):
    given = {key: value.requires_grad_() for key, value in inputs(50, H=3, Hkv=3, dv=6).items()}
    want = scaled_dot_product_attention(*given.values(), is_causal=causal)
    wanted = torch.autograd.grad(want.square().sum(), list(given.values()))
    for name in BACKENDS:
        got = attention(**given, causal=causal, backend=name)
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(torch.autograd.grad(got.square().sum(), list(given.values())), wanted)


def test_gradients_of_output_and_log_sum_exp_match_finite_differences():
    given = [value[:1].requires_grad_() for value in inputs(9, 11, H=2, Hkv=1, d=3, dv=2).values()]
    for rules in ({"causal": True}, {"window": 3}):
        assert gradcheck(lambda *x, rules=rules: attention(*x, return_lse=True, backend="tiled", **rules), given)


def test_halves_over_keys_join_by_their_log_sum_exp():
    given = inputs(12, 40)
    whole, _ = attention(**given, return_lse=True)
    halves = [
        attention(given["q"], given["k"][:, :, part], given["v"][:, :, part], return_lse=True)
        for part in (slice(0, 13), slice(13, 40))
    ]
    weight = torch.stack([lse for _, lse in halves]).softmax(0)[..., None]
    torch.testing.assert_close(sum(w * o for w, (o, _) in zip(weight, halves, strict=True)), whole)


def test_vast_scores_neither_overflow_nor_lose_the_largest():
    given = {key: value.float() for key, value in inputs(40).items()}
    given["q"] = given["q"] * 1e4
    o, lse = attention(**given, return_lse=True, backend="tiled")
    want, want_lse = attention(**given, return_lse=True, backend="reference")
    assert o.isfinite().all()
    torch.testing.assert_close((o, lse), (want, want_lse), rtol=1e-4, atol=1e-3)


def test_half_precision_is_summed_in_float32():
    given = {key: value.bfloat16().requires_grad_() for key, value in inputs(90).items()}
    exact = {key: value.detach().float().requires_grad_() for key, value in given.items()}
    got, want = attention(**given, backend="tiled"), attention(**exact, backend="reference")
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, rtol=2**-8, atol=1e-3)
    pairs = zip(
        torch.autograd.grad(got.float().square().sum(), list(given.values())),
        torch.autograd.grad(want.square().sum(), list(exact.values())),
        strict=True,
    )
    assert all((a.float() - b).norm() / b.norm() < 0.01 for a, b in pairs)


@pytest.mark.parametrize("name", BACKENDS)
def test_strided_inputs_give_the_same_as_packed_ones(name):
    qkv = torch.randn(2, 33, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    got = attention(q, k, v, causal=True, backend=name)
    want = attention(q.contiguous(), k.contiguous(), v.contiguous(), causal=True, backend="reference")
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    gradients = [torch.autograd.grad(out.square().sum(), qkv, retain_graph=True) for out in (got, want)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_tiles_out_of_reach_are_never_computed(monkeypatch):
    computed = []
    forbid = tiled._forbid
    monkeypatch.setattr(tiled, "_forbid", lambda scores, *rest: (computed.append(scores.shape), forbid(scores, *rest)))
    given = inputs(160)
    attention(**given, backend="tiled")
    everything = len(computed)
    films = torch.arange(10).repeat_interleave(16).expand(2, -1)
    for rules, most in [({"causal": True}, 55), ({"causal": True, "window": 16}, 19), ({"segments": films}, 10)]:
        computed.clear()
        attention(**given, **rules, backend="tiled")
        assert len(computed) == most, f"{rules}: {len(computed)} of {everything} tiles"


def test_a_named_backend_says_why_it_cannot_and_the_choice_goes_on_to_the_next():
    given = inputs(30)
    with pytest.raises(RuntimeError, match=r"sdpa.*log-sum-exp"):
        attention(**given, return_lse=True, backend="sdpa")
    with pytest.raises(RuntimeError, match=r"without a key"):
        attention(**inputs(30, 20), causal=True, backend="sdpa")
    long = {key: value.float() for key, value in inputs(1100, H=1, Hkv=1).items()}
    with pytest.raises(RuntimeError, match=r"mask of 1 x 1100 x 1100"):
        attention(**long, window=3, backend="sdpa")
    assert attention(**long, window=3).isfinite().all()


def test_misfits_are_refused_with_what_to_do():
    given = inputs(8)
    with pytest.raises(ValueError, match=r"4 query heads cannot share 3 key heads"):
        attention(**given | {"k": torch.ones(2, 3, 8, 6).double(), "v": torch.ones(2, 3, 8, 6).double()})
    with pytest.raises(ValueError, match=r"got q \(2, 4, 8, 6\), k \(2, 2, 8, 6\), v \(2, 2, 7, 5\)"):
        attention(**given | {"v": given["v"][:, :, :7]})
    for window in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=r"window must be a positive int"):
            attention(**given, window=window)
    with pytest.raises(ValueError, match=r"one dtype and device.*torch.float32"):
        attention(**given | {"k": given["k"].float()})
    with pytest.raises(ValueError, match=r"segments must be \(B, N\) and \(B, M\)"):
        attention(**inputs(4, 8), segments=torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"int64"):
        attention(**given, segments=torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"unknown backend 'flash'"):
        attention(**given, backend="flash")
