"""The associative memory: its equations as a scalar loop, other people's delta rule, and what it can hold."""

import pytest
import torch

from seefar.mixers import AssociativeMemory, AssociativeState, WriteRule
from seefar.mixers.associative import EPS, dpfp
from seefar.testing import check_streaming

HEBBIAN = WriteRule(replace=False, correct=False)
NO_GAMMA = WriteRule(correct=False)
PLAIN_DELTA = WriteRule(normalize=False)


def memory(dim=6, width=3, rule=None):
    made = AssociativeMemory(dim, width, nu=2, rule=rule).double()
    torch.nn.init.normal_(made.v_proj.weight, generator=torch.Generator().manual_seed(0))
    return made


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loop(rule, state, k, v, beta):
    """One stream, one number at a time; k, v, beta are lists; all keys meet the memory as it was before."""
    A, z = ([list(row) for row in state[0]], list(state[1])) if state else (None, None)
    F, D = len(k[0]), len(v[0])
    after, sums = [list(row) for row in A] if A else [[0.0] * D for _ in range(F)], list(z) if z else [0.0] * F
    for key, value, strength in zip(k, v, beta, strict=True):
        held, gamma = [0.0] * D, 1.0
        if A:
            met = sum(z[f] * key[f] for f in range(F)) + EPS
            if rule.replace:
                held = [sum(A[f][d] * key[f] for f in range(F)) / (met if rule.normalize else 1) for d in range(D)]
            if rule.correct:
                gamma = min(1.0, max(0.0, 1 - met / (sum(x * x for x in key) + EPS)))
        for f in range(F):
            sums[f] += gamma * key[f] if rule.normalize else 0.0
            for d in range(D):
                after[f][d] += strength * key[f] * (value[d] - held[d])
    return after, sums


@pytest.mark.parametrize("rule", [WriteRule(), HEBBIAN, NO_GAMMA, PLAIN_DELTA])
def test_writes_and_reads_follow_the_equations_number_by_number(rule):
    got, want = None, None
    for step, tokens in enumerate([1, 3, 2, 4]):
        k, v, beta = dpfp(random(1, tokens, 3, seed=step)), random(1, tokens, 5, seed=9 + step), random(1, tokens).abs()
        got, want = rule.write(got, k, v, beta), loop(rule, want, k[0].tolist(), v[0].tolist(), beta[0].tolist())
        torch.testing.assert_close(got.A_BFD[0], torch.tensor(want[0], dtype=torch.float64))
        torch.testing.assert_close(got.z_BF[0], torch.tensor(want[1], dtype=torch.float64))
    q = dpfp(random(1, 1, 3, seed=50))
    over = sum(a * b for a, b in zip(want[1], q[0, 0].tolist(), strict=True)) + EPS if rule.normalize else 1
    hand = [sum(want[0][f][d] * q[0, 0, f].item() for f in range(18)) / over for d in range(5)]
    torch.testing.assert_close(rule.read(got, q)[0, 0], torch.tensor(hand, dtype=torch.float64))


def test_without_norm_it_is_the_delta_rule_of_transformers():
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

    k, q, v, beta = random(2, 9, 4), random(2, 9, 4, seed=1), random(2, 9, 5, seed=2), random(2, 9, seed=3).sigmoid()
    k = k / k.norm(dim=-1, keepdim=True)
    state, rows = None, []
    for t in range(9):
        state = PLAIN_DELTA.write(state, k[:, t, None], v[:, t, None], beta[:, t, None])
        rows.append(PLAIN_DELTA.read(state, q[:, t, None]))
    one_head = [x[:, :, None] for x in (q * 2, k, v, torch.zeros_like(beta), beta)]  # it divides q by sqrt(4)
    want, end = torch_recurrent_gated_delta_rule(*one_head, output_final_state=True)
    torch.testing.assert_close(torch.cat(rows, 1), want[:, :, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.A_BFD, end[:, 0].double(), rtol=1e-5, atol=1e-5)


def test_features_are_products_of_neighbours_and_never_negative():
    x = random(2, 4, 5)
    r = [[[max(s * n, 0) for s in (1, -1) for n in row] for row in rows] for rows in x.tolist()]
    want = [[[row[i] * row[i - j] for j in (1, 2, 3) for i in range(10)] for row in rows] for rows in r]
    got = dpfp(x)
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64))
    assert got.shape == (2, 4, 30) and (got >= 0).all()


def test_the_second_value_of_a_key_takes_the_place_of_the_first_and_z_stays():
    k, other, ones = dpfp(random(1, 1, 64)), dpfp(random(1, 1, 64, seed=1)), torch.ones(1, 1).double()
    first, second = random(1, 1, 8, seed=2), random(1, 1, 8, seed=3)
    rule = WriteRule()
    state = rule.write(None, k, first, ones)
    again = rule.write(state, k, second, ones)
    torch.testing.assert_close(again.z_BF, state.z_BF, rtol=1e-12, atol=0)
    torch.testing.assert_close(rule.read(again, k), second, rtol=1e-4, atol=1e-4)  # eps is what is missing
    weak = rule.write(None, k, first, 0.5 * ones)
    assert torch.equal(weak.z_BF, state.z_BF)  # the strength of a write has no part in z
    assert not torch.equal(rule.write(state, other, second, ones).z_BF, state.z_BF)
    both = HEBBIAN.write(HEBBIAN.write(None, k, first, ones), k, second, ones)
    torch.testing.assert_close(HEBBIAN.read(both, k), (first + second) / 2, rtol=1e-4, atol=1e-4)


def random_pairs(which, streams=8):
    """Random keys of width 64; 64 codes, unit vectors of 128; the value of each write, and of the last round of all."""
    generator, keys = torch.Generator().manual_seed(0), max(which) + 1
    k = dpfp(torch.randn(streams, keys, 64, generator=generator))
    codes = torch.nn.functional.normalize(torch.randn(streams, 64, 128, generator=generator), dim=-1)
    values = torch.randint(64, (streams, len(which)), generator=generator)
    return k, codes, values, values[:, -keys:]


def recalled(rule, which):
    """Share of keys whose last value is what a read of the memory comes closest to."""
    k, codes, values, last = random_pairs(which)
    state, row, full = None, torch.arange(len(k)), torch.ones(len(k), 1)
    for t, key in enumerate(which):
        state = rule.write(state, k[:, key, None], codes[row, values[:, t]][:, None], full)
    return ((rule.read(state, k) @ codes.mT).argmax(-1) == last).double().mean().item()


def recalled_by_a_kernel(which):
    """The same of the mean of all values ever written, weighted by how much their keys meet the one looked up."""
    k, codes, values, last = random_pairs(which)
    votes = torch.nn.functional.one_hot(values, 64).float() @ (codes @ codes.mT)
    return ((k @ k[:, list(which)].mT @ votes).argmax(-1) == last).double().mean().item()


def test_it_recalls_more_than_a_hebbian_memory_and_forgets_only_what_was_rewritten():
    tasks = {"100 keys": range(100), "200 keys": range(200), "200 keys twice": [*range(200), *range(200)]}
    rules = {"gamma delta": WriteRule(), "no gamma": NO_GAMMA, "Hebbian": HEBBIAN}
    share = {task: {name: recalled(rule, which) for name, rule in rules.items()} for task, which in tasks.items()}
    want = {"100 keys": 1.00, "200 keys": 0.92, "200 keys twice": 0.93}
    for task, row in share.items():
        assert row["gamma delta"] > row["no gamma"] > row["Hebbian"], (task, row)
        assert row["gamma delta"] == pytest.approx(want[task], abs=0.05), task
        # one without replacing is linear attention: what it finds is known without running it
        assert row["Hebbian"] == pytest.approx(recalled_by_a_kernel(tasks[task]), abs=0.005), task
    assert share["200 keys twice"]["no gamma"] == pytest.approx(0.46, abs=0.05)


@pytest.mark.parametrize("rule", [WriteRule(), HEBBIAN, NO_GAMMA, WriteRule(normalize=False, replace=False)])
def test_streams(rule):
    check_streaming(memory(rule=rule), random(2, 12, 6))


@pytest.mark.parametrize("rule", [WriteRule(), NO_GAMMA])
def test_a_broken_one_is_caught(broken, rule):
    with pytest.raises(AssertionError):
        check_streaming(broken(memory(rule=rule)), random(2, 12, 6))


def test_no_gradient_goes_through_gamma():
    z, k = random(1, 18, seed=4).abs() * 0.1, dpfp(random(1, 1, 3)).requires_grad_()
    state = AssociativeState(torch.zeros(1, 18, 5).double(), z)
    after = WriteRule().write(state, k, random(1, 1, 5), torch.ones(1, 1).double())
    gamma = 1 - ((z * k).sum() + EPS) / (k.square().sum() + EPS)
    assert 0 < gamma < 1
    (grad,) = torch.autograd.grad(after.z_BF.sum(), k)
    torch.testing.assert_close(grad, gamma.detach().expand_as(grad))


def test_at_first_every_read_is_zero():
    mixer, x = AssociativeMemory(6, 3), torch.randn(2, 5, 6)
    y, state = mixer(x)
    assert (y == 0).all() and (state.A_BFD == 0).all() and (state.z_BF > 0).any()
    assert (mixer.read(x, None) == 0).all()


def test_half_precision_keeps_a_float32_state():
    mixer = memory().bfloat16()
    x = random(1, 4, 6).bfloat16()
    state = mixer.write(x, None)
    for _ in range(300):
        state = mixer.write(x, state)
    assert {tensor.dtype for tensor in state} == {torch.float32}
    assert mixer.read(x, state).dtype == torch.bfloat16


@pytest.mark.parametrize("nu", [0, 6])
def test_shifts_that_come_round_are_refused(nu):
    with pytest.raises(ValueError, match=f"nu={nu}"):
        dpfp(torch.randn(1, 3), nu)
    with pytest.raises(ValueError, match=f"1 to 5 for width=3, got nu={nu}"):
        AssociativeMemory(4, 3, nu=nu)


def test_a_state_of_other_streams_is_refused():
    mixer = memory()
    state = mixer.write(random(2, 3, 6), None)
    for use in (mixer.read, mixer.write):
        with pytest.raises(ValueError, match="the state is of 2 streams, got 3; begin others with state=None"):
            use(random(3, 1, 6), state)
