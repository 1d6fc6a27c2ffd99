"""Measurements on ranks: what they count is what was sent, and a wrong exchange shows."""

from functools import partial

import torch

from seefar.distributed import Traffic, Zigzag, collect, deal, on_ranks, state_attention
from seefar.evals import sequence_parallel as parallel
from seefar.ops.attention import attention
from seefar.ops.linear_attention import linear_attention
from seefar.papers._card import Scale


def tensors(n, **options):
    generator = torch.Generator().manual_seed(n)
    return {name: torch.randn(1, 2, n, 4, generator=generator, **options) for name in "qkv"}


def test_several_sweeps_come_out_of_one_launch_a_seed():
    launched = []

    def launch(seed):
        launched.append(seed)
        return [{"a": {1: seed, 2: seed + 1.0}, "b": {"x": 7.0}}, "what the other ranks found"]

    found = parallel.sweeps(launch, {"first": (["a"], [1, 2]), "second": (["b"], ["x"])}, Scale("smoke", (3, 5)))
    assert launched == [3, 5]
    assert found["first"]["a"][2].values == (4, 6) and found["second"]["b"]["x"].mean == 7


def test_ranks_are_started_once_for_all_seeds():
    started = []

    def measure(ranks, seed, more):
        started.append(ranks.group)
        return {"a": {"x": seed + more + ranks.rank}}

    launch = parallel.one_launch(2, measure, (3, 5), 10, where="threads")
    assert [launch(seed) for seed in (3, 5, 3)] == [[{"a": {"x": 13}}], [{"a": {"x": 15}}], [{"a": {"x": 13}}]]
    assert len(started) == 4 and len(set(map(id, started))) == 2


def test_traffic_is_that_of_one_call_and_of_its_gradient():
    def work(ranks):
        ranks.all_gather(torch.ones(1)).wait()  # before: not counted
        attend = partial(state_attention, ranks=ranks)
        kept = parallel.traffic(ranks, attend, tensors(5))
        both = parallel.traffic(ranks, attend, {name: x.requires_grad_() for name, x in tensors(5).items()})
        return kept, both

    one = Traffic(collectives=1, sent=2 * 2 * 4 * 4 * 4)
    assert on_ranks(3, work, where="threads") == [((one, Traffic()), (one, one))] * 3


def test_a_ring_moves_all_keys_and_values():
    def work(ranks):
        return parallel.traffic(ranks, partial(parallel.circulate, ranks=ranks), tensors(5))[0]

    assert on_ranks(3, work, where="threads") == [Traffic(messages=2, sent=2 * 2 * 5 * (4 + 4) * 4)] * 3


def test_the_right_exchange_agrees_with_one_process_and_one_without_decay_does_not():
    given = tensors(12, dtype=torch.float64)
    given["decay"] = given["q"].sigmoid().mean(-1)

    def work(ranks):
        right = partial(state_attention, ranks=ranks)
        wrong = lambda decay, **rest: right(**rest, decay=decay * 0 + 1)  # noqa: E731
        return [parallel.digits(ranks, attend, linear_attention, given) for attend in (right, wrong)]

    for right, wrong in on_ranks(3, work, where="threads"):
        assert right > 12 and wrong < 1


def test_a_zigzag_undone_is_plain_attention_and_a_mean_of_parts_is_not():
    given = {name: x.double() for name, x in tensors(12).items()}
    want = attention(**given, causal=True)
    dealt = {name: torch.cat(deal(x, 3, Zigzag()), 2) for name, x in given.items()}
    got = parallel.undealt(partial(attention, causal=True), 3, Zigzag())(**dealt)
    torch.testing.assert_close(collect(got.chunk(3, 2), Zigzag()), want)

    def work(ranks):
        return parallel.by_mean(*(x.chunk(3, 2)[ranks.rank] for x in given.values()), ranks=ranks)

    mean = torch.cat(on_ranks(3, work, where="threads"), 2)
    parts = [attention(given["q"], given["k"][:, :, at], given["v"][:, :, at]) for at in torch.arange(12).chunk(3)]
    torch.testing.assert_close(mean, sum(parts) / 3)
    assert (mean - attention(**given)).abs().max() > 0.01


def test_seconds_are_those_of_the_slowest_rank():
    from time import sleep

    def work(ranks):
        slow = lambda **given: sleep(0.05 * ranks.rank) or given["q"]  # noqa: E731
        return parallel.seconds(ranks, {"slow": slow, "fast": lambda **given: given["q"]}, tensors(1), repeats=2)

    for found in on_ranks(2, work, where="threads"):
        assert found["slow"] >= 0.05 and found["fast"] < 0.05
