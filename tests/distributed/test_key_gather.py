"""Oracle: attention in one process, float64."""

import pytest
import torch

from seefar.distributed import Traffic, gathered_attention, on_ranks
from seefar.ops.attention import attention


def inputs(N, H=4, Hkv=2, d=6, dv=5):
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (2, H, N, d), "k": (2, Hkv, N, d), "v": (2, Hkv, N, dv)}
    return {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}


def on_one(ranks, N, causal):
    given = {key: x.chunk(ranks.world, 2)[ranks.rank].clone().requires_grad_() for key, x in inputs(N).items()}
    o = gathered_attention(**given, ranks=ranks, causal=causal)
    forward = ranks.take()
    gradients = torch.autograd.grad(o.square().sum(), list(given.values()))
    return (o.detach(), *gradients), (forward, ranks.take())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_give_what_one_process_gives_with_gradients(world, causal):
    given = {key: x.requires_grad_() for key, x in inputs(24).items()}
    o = attention(**given, causal=causal, backend="reference")
    want = (o, *torch.autograd.grad(o.square().sum(), list(given.values())))
    results = on_ranks(world, on_one, 24, causal, where="threads")
    got = [torch.cat(pieces, 2) for pieces in zip(*(tensors for tensors, _ in results), strict=True)]
    torch.testing.assert_close(got, list(want), rtol=1e-10, atol=1e-10)


def test_one_collective_each_way_and_bytes_that_grow_with_the_length():
    for n in (3, 6, 12):
        for _, traffic in on_ranks(3, on_one, 3 * n, True, where="threads"):
            assert traffic == (Traffic(collectives=1, sent=2 * 2 * 2 * n * (6 + 5) * 8),) * 2


def test_misfits_are_refused():
    given = inputs(6)
    with pytest.raises(ValueError, match=r"got q \(2, 4, 6, 6\), k \(2, 2, 6, 6\), v \(2, 2, 5, 5\)"):
        gathered_attention(given["q"], given["k"], given["v"][:, :, :5], None)
