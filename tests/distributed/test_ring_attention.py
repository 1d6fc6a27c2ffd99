"""Oracle: attention in one process, float64, by its definition."""

import importlib
import threading
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.distributed import Contiguous, Ranks, Striped, Traffic, Zigzag, collect, deal, on_ranks, ring_attention
from seefar.distributed.ring_attention import backward_bytes, cheaper, forward_bytes
from seefar.ops.attention import attention

LAYOUTS = [Contiguous(), Zigzag(), Striped()]


@pytest.fixture
def rank(monkeypatch):
    """The module with the work of a rank, importable here and in the processes started from here."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("ring_on_a_rank")


def agree(rank, results, layout, N, **options):
    want = rank.alone(N, **options)
    got = [collect(pieces, layout) for pieces in zip(*(each["tensors"] for each in results), strict=True)]
    for name, a, b in zip(("o", "dq", "dk", "dv"), got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{layout} {options} {n}\n{m}")


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_give_what_one_process_gives_with_gradients(rank, world):
    N = 24
    kinds = [(layout, True, layout == Striped()) for layout in LAYOUTS] + [
        (Zigzag(), False, True),
        (Zigzag(), True, True),
    ]
    for layout, causal, packed in kinds:
        for travels in ("keys", "queries"):
            results = on_ranks(world, rank.ring, N, layout, travels, causal, packed, where="threads")
            agree(rank, results, layout, N, causal=causal, packed=packed)


def test_two_real_processes_give_what_threads_give(rank):
    for each, other in zip(
        *(on_ranks(2, rank.both, 12, where=where) for where in ("processes", "threads")), strict=True
    ):
        for a, b in zip(each, other, strict=True):
            assert a["traffic"] == b["traffic"]
            assert all(torch.equal(x, y) for x, y in zip(a["tensors"], b["tensors"], strict=True))


@pytest.mark.parametrize("world", [2, 5])
@pytest.mark.parametrize("travels", ["keys", "queries"])
def test_bytes_are_those_of_the_formula(rank, world, travels):
    n, d, H, Hkv = 4, 6, 4, 2
    results = on_ranks(world, rank.ring, world * n, Zigzag(), travels, True, False, where="threads")
    forward = Hkv * 2 * d
    backward = {"keys": Hkv * 4 * d, "queries": H * (3 * d + 2)}[travels]
    for each in results:
        B, size = 2, 8
        there, back = each["traffic"]
        assert there == Traffic(messages=world - 1, sent=(world - 1) * B * n * forward * size)
        assert back == Traffic(messages=2 * (world - 1), sent=(world - 1) * B * n * backward * size)


def test_the_formulas_of_the_paper_where_heads_are_equal_and_auto_takes_the_smaller():
    q = torch.ones(1, 8, 5, 64)
    tokens = 8 * 5 * 4
    assert forward_bytes(q, q) == 2 * 64 * tokens
    assert backward_bytes(q, q, q) == {"keys": 4 * 64 * tokens, "queries": (3 * 64 + 2) * tokens}
    assert cheaper(q, q, q) == "queries"
    for heads, best in ((1, "keys"), (4, "keys"), (8, "queries")):
        assert cheaper(q, q[:, :heads], q[:, :heads]) == best
    # half precision: what is summed travels as float32, which weighs on two tensors against one
    h = q.bfloat16()
    assert backward_bytes(h, h, h) == {"keys": (2 * 2 + 2 * 4) * 64 * 40, "queries": ((2 * 2 + 4) * 64 + 8) * 40}


def test_packed_sequences_send_their_segments_once(rank):
    plain, packed = (
        on_ranks(3, rank.ring, 24, Striped(), "keys", True, p, where="threads")[0]["traffic"] for p in (False, True)
    )
    assert packed[0].sent - plain[0].sent == 2 * 2 * 8 * 8 and packed[0].collectives == 1 and packed[1] == plain[1]


def test_no_gradient_passes_from_one_packed_sequence_to_another(rank):
    def work(ranks):
        given = rank.inputs(24)
        own = {key: deal(x, 2, Zigzag())[ranks.rank].requires_grad_() for key, x in given.items()}
        segments = deal(rank.segments(24), 2, Zigzag(), 1)[ranks.rank]
        o = ring_attention(**own, ranks=ranks, layout=Zigzag(), segments=segments)
        here = segments[0] == 1
        grads = torch.autograd.grad(o[:1, :, here].sum(), list(own.values()))
        assert all((g[0][:, ~here] == 0).all() and (g[1] == 0).all() for g in grads)
        return float(sum(g.abs().sum() for g in grads))

    assert sum(on_ranks(2, work, where="threads")) > 0


def test_one_rank_is_plain_attention_against_an_oracle_of_pytorch(rank):
    given = rank.inputs(9)

    def work(ranks):
        return ring_attention(**given, ranks=ranks, causal=True), ranks.take()

    ((o, traffic),) = on_ranks(1, work, where="threads")
    want = scaled_dot_product_attention(*given.values(), is_causal=True, enable_gqa=True)
    torch.testing.assert_close(o, want)
    assert traffic == Traffic()


def test_half_precision_is_summed_in_float32(rank):
    given = {key: x.bfloat16() for key, x in rank.inputs(64).items()}
    want = attention(*(x.double() for x in given.values()), causal=True)

    def work(ranks):
        own = {key: deal(x, 4, Zigzag())[ranks.rank].requires_grad_() for key, x in given.items()}
        o = ring_attention(**own, ranks=ranks, causal=True, layout=Zigzag())
        o.float().sum().backward()
        assert all(x.grad.dtype == torch.bfloat16 for x in own.values())
        return o.detach()

    o = collect(on_ranks(4, work, where="threads"), Zigzag())
    assert o.dtype == torch.bfloat16 and (o - want).norm() / want.norm() < 2**-8


def test_the_next_piece_is_under_way_while_a_rank_computes(rank, monkeypatch):
    events = []

    class Seen(Ranks):
        def turn(self, x):
            events.append("departs")
            pending = super().turn(x)
            wait = pending.wait
            pending.wait = lambda: (events.append("arrives"), wait())[1]
            return pending

    def watched(name, function):
        def call(*args, **options):
            if threading.current_thread() is seen[0]:
                events.append(name)
            return function(*args, **options)

        monkeypatch.setattr(module, name, call)

    def work(ranks):
        if ranks.rank == 0:
            seen.append(threading.current_thread())
        ranks.barrier()
        given = {key: deal(x, 2, Zigzag())[ranks.rank].requires_grad_() for key, x in rank.inputs(8).items()}
        own = Seen(ranks.group) if ranks.rank == 0 else ranks
        ring_attention(**given, ranks=own, layout=Zigzag()).sum().backward()

    seen = []
    module = importlib.import_module("seefar.distributed.ring_attention")
    watched("attention", attention)
    watched("gradients", module.gradients)
    on_ranks(2, work, where="threads")
    forward = ["departs", "attention", "arrives", "attention"]
    assert events == [*forward, "departs", "gradients", "arrives", "gradients", "departs", "arrives"]


def test_what_differs_between_ranks_is_refused_on_all_of_them(rank):
    given = rank.inputs(8)

    def layouts(ranks):
        ring_attention(**given, ranks=ranks, layout=LAYOUTS[ranks.rank])

    def dtypes(ranks):
        ring_attention(*(x.float() if ranks.rank else x for x in given.values()), ranks)

    def lengths(ranks):
        ring_attention(*(x[:, :, : 4 + ranks.rank] for x in given.values()), ranks)

    for work, what in (
        (layouts, r"rank 0 .*Contiguous.*rank 1 .*Zigzag"),
        (dtypes, "float64.*float32"),
        (lengths, "4"),
    ):
        with pytest.raises(ValueError, match=f"ring_attention: ranks disagree: .*{what}"):
            on_ranks(2, work, where="threads", seconds=20)


def test_misfits_are_refused_before_anything_is_sent(rank):
    given = rank.inputs(6)

    def work(ranks):
        with pytest.raises(ValueError, match="as many queries as keys, and at least one, got 5 and 6"):
            ring_attention(given["q"][:, :, :5], given["k"], given["v"], ranks)
        with pytest.raises(ValueError, match=r"travels must be 'keys', 'queries' or None, got 'values'"):
            ring_attention(**given, ranks=ranks, travels="values")
        with pytest.raises(ValueError, match=r"this rank's tokens, \(2, 6\) int64, got \(2, 12\)"):
            ring_attention(**given, ranks=ranks, segments=torch.zeros(2, 12, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"Zigzag: each rank holds two pieces of one length, got 5"):
            ring_attention(*(x[:, :, :5] for x in given.values()), ranks, layout=Zigzag())
        return ranks.take()

    assert on_ranks(2, work, where="threads", seconds=20) == [Traffic(), Traffic()]
