"""Results are checked against PyTorch's own attention in float64, counts against sums done by hand."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from seefar.ops.attention import attention
from seefar.ops.attention.fa2 import formula_fa2, programs, trace_fa2
from seefar.ops.attention.traffic import trace


def inputs(N, M=None, d=8, H=2, Hkv=None, B=1):
    generator = torch.Generator().manual_seed(N)
    sizes = ((H, N), (Hkv or H, M or N), (Hkv or H, M or N), (H, N))
    return [torch.randn(B, heads, n, d, generator=generator).double() for heads, n in sizes]


def unfused(q, k, v, do, **rules):
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    with sdpa_kernel(SDPBackend.MATH):
        o = scaled_dot_product_attention(*leaves, enable_gqa=q.shape[1] != k.shape[1], **rules)
    return o.detach(), torch.autograd.grad(o, leaves, do)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("N", "H", "Hkv"), [(50, 2, 2), (33, 8, 1), (64, 4, 2)])
@pytest.mark.parametrize("causal", [True, False])
def test_it_really_computes_attention_and_its_gradients(N, H, Hkv, causal, deterministic):
    given = inputs(N, H=H, Hkv=Hkv, B=2)
    found = trace_fa2(*given, tile=(16, 8), causal=causal, deterministic=deterministic)
    o, gradients = unfused(*given, is_causal=causal)
    torch.testing.assert_close((found.o, found.gradients), (o, gradients), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rules", [{"causal": True, "window": 9}, {"window": 5}, {"scale": 0.2}, {"causal": True}])
@pytest.mark.parametrize(("N", "M"), [(20, 37), (1, 40), (40, 40)])
def test_windows_scales_and_queries_behind_a_cache(rules, N, M):
    q, k, v, do = inputs(N, M)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    o, lse = attention(*leaves, **rules, return_lse=True, backend="reference")
    found = trace_fa2(q, k, v, do, tile=(7, 8), **rules)
    wanted = o, lse, torch.autograd.grad(o, leaves, do)
    torch.testing.assert_close((found.o, found.lse, found.gradients), wanted, rtol=1e-10, atol=1e-10)


def test_rows_without_a_key_are_zero():
    q, k, v, do = inputs(30, 10)
    found = trace_fa2(q, k, v, do, tile=(8, 8), window=3)
    o, lse = attention(q, k, v, window=3, return_lse=True, backend="reference")
    torch.testing.assert_close((found.o, found.lse), (o, lse), rtol=1e-10, atol=1e-10)
    assert (found.o[:, :, :17] == 0).all() and not any(x.isnan().any() for x in found.gradients)


def test_both_schedules_agree_to_a_few_roundings():
    given = [x.float() for x in inputs(96, d=16)]
    new = trace_fa2(*given, tile=(16, 16), causal=True)
    old = trace(*given, on_chip=4 * 16 * 16, causal=True)
    torch.testing.assert_close((new.o, new.lse), (old.o, old.lse), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(new.gradients, old.gradients, rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize(("N", "M", "tile"), [(48, 48, (16, 16)), (50, 37, (16, 8)), (1, 64, (16, 32))])
@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("deterministic", [True, False])
def test_every_access_is_counted(N, M, tile, group, deterministic):
    d, heads = 8, 2
    found = trace_fa2(*inputs(N, M, d, heads * group, heads), tile=tile, deterministic=deterministic)
    rows, keys = -(-N // tile[0]), -(-M // tile[1])
    assert found.forward.writes == heads * group * N * (d + 1)
    assert found.forward.reads == heads * group * (N * d + rows * 2 * M * d)
    reads = group * (2 * N * d + keys * N * (2 * d + 2)) + 2 * M * d
    writes = group * (N + N * d) + 2 * M * d
    if deterministic:
        reads += group * (N * (2 * d + 2) + rows * 2 * M * d)
    else:
        reads, writes = reads + group * keys * N * d, writes + group * keys * N * d
    assert (found.backward.reads, found.backward.writes) == (heads * reads, heads * writes)
    want = formula_fa2(N, M, d, tile, group=group, deterministic=deterministic)
    assert (found.forward.total, found.backward.total) == (heads * want[0], heads * want[1])


def test_causal_work_is_half_and_the_diagonal():
    def products(**rules):
        with FlopCounterMode(display=False) as counter:
            trace_fa2(*inputs(128, H=1), tile=(16, 16), **rules)
        return counter.get_total_flops()

    tiles = 8
    assert products(causal=True) * 2 * tiles == products() * (tiles + 1)
    assert products(causal=True, window=16) * tiles**2 == products() * (2 * tiles - 1)


def test_only_tiles_on_the_edge_are_masked(monkeypatch):
    from seefar.ops.attention.rules import Rules

    masked, asked = [], Rules.allowed
    monkeypatch.setattr(Rules, "allowed", lambda *a: masked.append(asked(*a) is not None) or asked(*a))
    trace_fa2(*inputs(64, H=1)[:3], tile=(16, 16), causal=True)
    assert len(masked) == 10 and sum(masked) == 4


def test_two_passes_give_the_same_bits_in_any_order_and_sums_in_slow_memory_do_not():
    given = [x.float() for x in inputs(128, H=1)]
    orders = [torch.randperm(8, generator=torch.Generator().manual_seed(i)).tolist() for i in range(4)]

    def dq(**how):
        return [trace_fa2(*given, tile=(16, 16), order=order, **how).gradients[0] for order in orders]

    same, other = dq(), dq(deterministic=False)
    assert all(torch.equal(x, same[0]) for x in same)
    assert not all(torch.equal(x, other[0]) for x in other)
    torch.testing.assert_close(other[1], same[1], rtol=1e-5, atol=1e-5)


def test_the_fast_memory_holds_a_few_tiles_whatever_the_length():
    held = {N: trace_fa2(*inputs(N, d=8), tile=(16, 16)) for N in (64, 256)}
    assert held[64].forward.held == held[256].forward.held == 4 * 16 * 8 + 16 * 16 + 2 * 16
    assert held[64].backward.held == held[256].backward.held == 6 * 16 * 8 + 2 * 16 * 16 + 2 * 16


def test_there_is_a_program_for_each_tile_of_queries():
    assert programs(8192, (128, 64), batch=1, heads=8) == {"fa1": 8, "fa2": 512}


def test_misfits_are_refused_with_what_to_do():
    q, k, v, do = inputs(8)
    with pytest.raises(ValueError, match=r"8 queries end where 5 keys do.*give q\[:, :, 3:\]"):
        trace_fa2(q, k[:, :, :5], v[:, :, :5], causal=True)
    with pytest.raises(ValueError, match="window must be at least 1"):
        trace_fa2(q, k, v, window=0)
    with pytest.raises(ValueError, match=r"must lie together; call k\.contiguous\(\)"):
        trace_fa2(q, k.mT.contiguous().mT, v)
    with pytest.raises(ValueError, match="both at least 1, got \\(0, 4\\)"):
        trace_fa2(q, k, v, tile=(0, 4))
    with pytest.raises(ValueError, match="2 query heads cannot share 3 key heads"):
        trace_fa2(q, k[:, [0, 0, 1]], v[:, [0, 0, 1]])
    with pytest.raises(ValueError, match="keys and values must be alike"):
        trace_fa2(q, k, v[..., :4])
    with pytest.raises(ValueError, match=r"gradient of the output, \(1, 2, 8, 8\), got \(1, 2, 7, 8\)"):
        trace_fa2(q, k, v, do[:, :, :7])
    with pytest.raises(ValueError, match="order names each of 2 tiles of keys once"):
        trace_fa2(q, k, v, do, tile=(4, 4), order=[0, 0])
