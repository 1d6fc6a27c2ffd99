"""Oracles: the sum over pairs in NumPy, and counted operations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from seefar.ops import explain, taylor_attention
from seefar.ops.taylor_attention import BACKENDS, Parabola
from seefar.ops.taylor_attention.switch import fewer_numbers_from, fewer_operations_from, pays, pays_from
from seefar.testing import check_op


def inputs(N, M=None, *, d=4, dv=3, B=2, H=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(N)
    q, k = (torch.randn(B, H, n, d, generator=generator, dtype=torch.float64) for n in (N, M or N))
    v = torch.randn(B, H, M or N, dv, generator=generator, dtype=torch.float64)
    return {"q": 2 * F.normalize(q, dim=-1).to(dtype), "k": F.normalize(k, dim=-1).to(dtype), "v": v.to(dtype)}


@pytest.mark.parametrize("tile", [16, None])
@pytest.mark.parametrize("parabola", [Parabola(), Parabola(1.0, -1.0, 0.3)])
def test_backends_agree_with_their_gradients(tile, parabola):
    check_op(taylor_attention, BACKENDS, inputs, lengths=(1, 33, 40), tile=tile, parabola=parabola)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_sum_over_pairs_of_numpy_also_across_and_behind_a_mask(backend):
    given, mask = inputs(5, 9, B=2, H=1), torch.arange(9) < torch.tensor([[9], [4]])
    got = taylor_attention(**given, mask=mask, backend=backend, parabola=Parabola(0.7, 0.4, 1.1), tile=4)
    q, k, v = (part.numpy() for part in given.values())
    for b in range(2):
        for n in range(5):
            weights = np.array([0.7 * s * s + 0.4 * s + 1.1 for s in k[b, 0] @ q[b, 0, n]]) * mask[b].numpy()
            want = (weights[:, None] * v[b, 0]).sum(0) / weights.sum()
            np.testing.assert_allclose(got[b, 0, n].numpy(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["linear", "outer", "direct"])
def test_weights_are_positive_and_sum_to_one(backend):
    given = inputs(40)
    given["v"] = torch.eye(40, dtype=torch.float64).expand(2, 3, 40, 40)
    weights = taylor_attention(**given, backend=backend)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 40, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["linear", "outer", "direct"])
def test_operations_are_those_of_the_table(backend):
    N, d, dv, H = 50, 5, 7, 3
    given = inputs(N, d=d, dv=dv, B=1, H=H)
    with FlopCounterMode(display=False) as counted:
        taylor_attention(**given, backend=backend, tile=16)
    each = {
        "linear": (d + 1) * (d + 2) * (dv + 1) * 2 * N,
        "outer": 2 * (d + 1) ** 2 * (dv + 1) * 2 * N,
        "direct": 2 * (d + dv + 2) * N * N,
    }
    assert counted.get_total_flops() == H * each[backend]


def test_the_switch_changes_the_backend_and_nothing_else():
    assert pays_from(16) == 281 and pays(281, 281, 16) and not pays(280, 280, 16)
    assert not pays(100_000, 100, 16), "many queries over few keys are cheap by pairs"
    for N, backend in ((280, "direct"), (281, "linear")):
        given = inputs(N, d=16, B=1, H=1, dtype=torch.float32)
        assert f"taylor_attention.{backend}: runs" in explain("taylor_attention", *given.values())
        got = [taylor_attention(**given, backend=name) for name in (None, "direct", "linear")]
        assert torch.equal(got[0], got[1 if backend == "direct" else 2])
        torch.testing.assert_close(got[1], got[2], rtol=1e-5, atol=1e-5)


def test_the_authors_crossovers_are_where_their_counts_meet():
    for d in (8, 16, 32, 64, 128):
        N = fewer_operations_from(d)
        assert 4 * N * d + 6 * N == pytest.approx(4 * d**3 + 10 * d**2 + 9 * d + 4, rel=0.01)
        N = fewer_numbers_from(d)
        assert d * N + 2 * N * N == pytest.approx(d * d * (d + 1) + 2 * d * N + (d + 1) * N + d * d * N, rel=0.05)


def test_half_precision_stays_finite_over_sixteen_thousand_tokens():
    given = inputs(16_384, d=64, dv=1, B=1, H=1, dtype=torch.float16)
    got = taylor_attention(**given)
    assert got.dtype == torch.float16 and got.isfinite().all()
    want = given["v"].double().mean(2, keepdim=True)  # so many keys, spread evenly: nearly the mean
    assert (got.double() - want).abs().max() < 0.05


def test_training_keeps_no_products_of_a_tile():
    given = {name: part.requires_grad_() for name, part in inputs(600, d=16, B=1, H=1).items()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        taylor_attention(**given, backend="linear", tile=32)
    assert max(kept) <= 600 * 17


def test_without_a_visible_key_there_are_zeros_and_no_gradient():
    given = {name: part.requires_grad_() for name, part in inputs(6).items()}
    mask = torch.zeros(2, 6, dtype=torch.bool)
    for backend in BACKENDS:
        got = taylor_attention(**given, mask=mask, backend=backend)
        assert (got == 0).all()
        assert all((grad == 0).all() for grad in torch.autograd.grad(got.sum(), list(given.values())))


def test_wrong_input_is_refused():
    given = inputs(6)
    with pytest.raises(ValueError, match=r"c >= b\^2 / 4a"):
        taylor_attention(**given, parabola=Parabola(0.5, 2.0, 1.0))
    with pytest.raises(ValueError, match="equal batch, heads and width"):
        taylor_attention(given["q"][..., :3], given["k"], given["v"])
    with pytest.raises(ValueError, match=r"needs q \(B, H, N, d\)"):
        taylor_attention(given["q"], given["k"], given["v"][:, :, :5])
    with pytest.raises(ValueError, match="one floating dtype"):
        taylor_attention(given["q"].float(), given["k"], given["v"])
    with pytest.raises(ValueError, match="mask must be"):
        taylor_attention(**given, mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="a tile holds at least one"):
        taylor_attention(**given, tile=0)
    with pytest.raises(ValueError, match="unknown backend 'fast'"):
        taylor_attention(**given, backend="fast")
