"""Oracle: the loop over tokens in one process, float64, whose own oracle is the sum over pairs of tests/ops."""

import gc
import importlib
import weakref
from itertools import chain
from pathlib import Path

import pytest
import torch

from seefar.distributed import Ranks, Traffic, on_ranks, state_attention, state_gather
from seefar.ops.linear_attention import linear_attention


@pytest.fixture
def rank(monkeypatch):
    """The module with the work of a rank, importable here and in the processes started from here."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("on_a_rank")


def alone(rank, lengths, decay, causal, start):
    """Outputs, the state after each piece, and all gradients, in one process."""
    given = {key: x.requires_grad_() for key, x in rank.inputs(lengths, decay, start).items()}
    o, _ = linear_attention(**given, causal=causal, backend="reference")
    weights, end_weights = rank.probes(lengths)
    loss, ends, state = (o * weights).sum(), [], given.get("state")
    if causal:
        cut = {key: x.split(lengths, 2) for key, x in given.items() if key in "qkv" or x.ndim == 3}
        for i in range(len(lengths)):
            part = {key: x[i] for key, x in cut.items()}
            _, state = linear_attention(**given | part | {"state": state}, backend="reference")
            ends.append(state.detach())
            loss = loss + (state * end_weights[i]).sum()
    return o.detach(), ends, dict(zip(given, torch.autograd.grad(loss, list(given.values())), strict=True))


def agree(rank, lengths, results, kinds=None):
    """Every kind of call on every rank against one process."""
    for i, (decay, causal, exchange, start) in enumerate(kinds or rank.KINDS):
        what = f"{len(lengths)} ranks, decay {decay}, causal {causal}, {exchange}, start {start}: "
        got = [of_rank[i] for of_rank in results]
        o, ends, gradients = alone(rank, lengths, decay, causal, start)
        pairs = {"o": (torch.cat([each["o"] for each in got], 2), o)}
        if causal:
            pairs |= {f"state after piece {r}": (each["end"], ends[r]) for r, each in enumerate(got)}
        else:
            assert all(each["end"] is None for each in got)
        for key, want in gradients.items():
            shares = [each["gradients"][key] for each in got if key in each["gradients"]]
            whole = torch.cat(shares, 2) if key in "qkv" or want.ndim == 3 else sum(shares)
            pairs[f"gradient of {key}"] = (whole, want)
        for name, (a, b) in pairs.items():
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda m, w=what + name: f"{w}\n{m}")


def test_two_and_three_real_processes_give_what_one_process_gives(rank):
    pieces, kinds = {"two": (7, 7), "three": (5, 9, 4)}, [kind for kind in rank.KINDS if kind[-1]]
    results = on_ranks(3, rank.run_two_groups, *pieces.values(), kinds)
    for name, lengths in pieces.items():
        of_processes = [each[name] for each in results if each[name]]
        agree(rank, lengths, of_processes, kinds)
        of_threads = on_ranks(len(lengths), rank.run, lengths, kinds, where="threads")
        for a, b in zip(chain(*of_processes), chain(*of_threads), strict=True):
            assert torch.equal(a["o"], b["o"]) and a["traffic"] == b["traffic"]
            assert all(torch.equal(a["gradients"][key], b["gradients"][key]) for key in a["gradients"])
    for each in results:  # the count is what the system saw leave, but for headers and barriers
        for operation, (counted, seen) in each["written"].items():
            assert counted <= seen <= counted + 10_000, f"{operation}: {counted} counted, {seen} written"


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5, 6, 7, 8])
def test_any_number_of_ranks_gives_what_one_process_gives(rank, world):
    lengths = tuple(2 + (3 * i) % 5 for i in range(world))
    kinds = [kind for kind in rank.KINDS if kind[-1] or world == 3]
    agree(rank, lengths, on_ranks(world, rank.run, lengths, kinds, where="threads"), kinds)


@pytest.mark.parametrize("world", [2, 5])
def test_one_collective_each_way_and_bytes_that_do_not_know_the_length(rank, world):
    one = 2 * 3 * 4 * 5 * 8  # B H d dv float64
    gains = 2 * 3 * 8
    kinds = [kind for kind in rank.KINDS if kind[2] == "all_gather" and not kind[3]]
    for n in (3, 6, 24):
        for of_rank in on_ranks(world, rank.run, (n,) * world, kinds, where="threads"):
            for (decay, causal, *_), result in zip(kinds, of_rank, strict=True):
                sides = 1 if causal or decay == "none" else 2
                extra = 0 if decay == "none" else gains
                forward = Traffic(collectives=1, sent=(world - 1) * (sides * one + extra))
                assert result["traffic"] == (forward, Traffic(collectives=1, sent=(world - 1) * sides * one))


def test_a_ring_takes_one_message_from_each_rank_to_the_next_and_back(rank):
    kinds = [("gates", True, "ring", False)]
    results = on_ranks(4, rank.run, (3,) * 4, kinds, where="threads")
    one = 2 * 3 * 4 * 5 * 8
    there, back = zip(*(of_rank[0]["traffic"] for of_rank in results), strict=True)
    assert [t.sent for t in there] == [one, one, one, 0] and [t.sent for t in back] == [0, one, one, one]
    assert sum(t.messages for t in there) == sum(t.messages for t in back) == 3
    assert not any(t.collectives for t in there + back)


def test_the_local_part_and_its_gradient_run_while_the_exchange_is_under_way(rank, monkeypatch):
    events = []

    class Seen(Ranks):
        def all_gather(self, x):
            events.append("departs")
            pending = super().all_gather(x)
            wait = pending.wait
            pending.wait = lambda: (events.append("arrives"), wait())[1]
            return pending

    def local(q, *rest, **options):
        events.append("local")
        q = q * 1
        q.register_hook(lambda _: events.append("local gradient"))
        return linear_attention(q, *rest, **options)

    def work(ranks):
        given = piece(rank, "gates")
        o, _ = state_attention(**given, ranks=Seen(ranks.group))
        o.sum().backward()

    monkeypatch.setattr(state_gather, "linear_attention", local)
    on_ranks(1, work, where="threads")
    assert events == ["departs", "local", "arrives", "departs", "local gradient", "arrives"]


def piece(rank, decay="none"):
    return rank.piece(rank.inputs((6,), decay), (6,), 0)


def test_a_sequence_may_go_on_from_the_last_rank_to_the_first(rank):
    lengths = (4, 3, 5)
    given = rank.inputs(lengths * 2, "gates", start=True)
    want, end = linear_attention(**given)

    def work(ranks):
        outs, state = [], given["state"]
        for half in (0, 1):
            part = rank.piece(given | {"state": state}, lengths * 2, half * 3 + ranks.rank)
            part["state"] = state if ranks.rank == 0 else None
            o, last = state_attention(**part, ranks=ranks)
            state = ranks.all_gather(last).wait()[-1]
            outs.append(o.detach())
        return outs, state

    results = on_ranks(3, work, where="threads")
    got = torch.cat([results[r][0][half] for half in (0, 1) for r in range(3)], 2)
    torch.testing.assert_close((got, results[0][1]), (want, end), rtol=1e-11, atol=1e-11)


def test_a_column_of_ones_sends_the_sum_of_the_keys_along(rank):
    lengths = (4, 4, 4)
    given = {key: x.exp() for key, x in rank.inputs(lengths).items()}
    weights = (given["q"] @ given["k"].mT).tril()
    want = weights / weights.sum(-1, keepdim=True) @ given["v"]
    given["v"] = torch.cat([given["v"], torch.ones_like(given["v"][..., :1])], -1)

    def work(ranks):
        o, _ = state_attention(**rank.piece(given, lengths, ranks.rank), ranks=ranks)
        return (o[..., :-1] / o[..., -1:]).detach()

    got = torch.cat(on_ranks(3, work, where="threads"), 2)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_half_precision_travels_as_float32(rank):
    lengths = (40, 40)
    given = {key: x if key == "decay" else x.bfloat16() for key, x in rank.inputs(lengths, "gates").items()}
    given["decay"] = given["decay"].float()
    want, _ = linear_attention(**{key: x.double() for key, x in given.items()})

    def work(ranks):
        o, end = state_attention(**rank.piece(given, lengths, ranks.rank), ranks=ranks)
        sent = ranks.take().sent
        o.float().sum().backward()
        return o.detach(), end.dtype, sent

    results = on_ranks(2, work, where="threads")
    o = torch.cat([each[0] for each in results], 2)
    assert o.dtype == torch.bfloat16 and results[0][1] == torch.float32
    assert (o - want).norm() / want.norm() < 2**-8
    assert results[0][2] == (2 * 3 * 4 * 5 + 2 * 3) * 4


def test_nothing_is_held_once_the_result_is_gone(rank):
    def work(ranks):
        own = Ranks(ranks.group)
        seen = weakref.ref(own)
        gc.disable()
        result = state_attention(**piece(rank, "gates"), ranks=own)
        del own, result
        held = seen() is not None
        gc.enable()
        return held

    assert on_ranks(1, work, where="threads") == [False]


def test_misfits_are_refused_before_anything_is_sent(rank):
    def work(ranks):
        given = piece(rank)
        with pytest.raises(ValueError, match=r"exchange must be 'all_gather' or 'ring', got 'gossip'"):
            state_attention(**given, ranks=ranks, exchange="gossip")
        with pytest.raises(ValueError, match=r"later ranks; use exchange='all_gather'"):
            state_attention(**given, ranks=ranks, exchange="ring", causal=False)
        with pytest.raises(ValueError, match=r"decay must be \(3,\)"):
            state_attention(**given, ranks=ranks, decay=torch.ones(2, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"every rank needs tokens"):
            state_attention(*(given[key][:, :, :0] for key in "qkv"), ranks)
        if ranks.rank == 1:
            with pytest.raises(ValueError, match=r"belongs to rank 0, got one on rank 1; pass state=None"):
                state_attention(**given, ranks=ranks, state=torch.zeros(2, 3, 4, 5, dtype=torch.float64))
        return ranks.take()

    assert on_ranks(2, work, where="threads", seconds=20) == [Traffic(), Traffic()]
