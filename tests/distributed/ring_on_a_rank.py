"""What a rank does in the tests of the rings; a module of its own, so that another process can import it."""

import torch

from seefar.distributed import Contiguous, Zigzag, deal, ring_attention, ring_self_attention
from seefar.ops.attention import attention


def inputs(N, H=4, Hkv=2, d=6, dv=6):
    """The whole sequence, float64."""
    generator = torch.Generator().manual_seed(N)
    shapes = {"q": (2, H, N, d), "k": (2, Hkv, N, d), "v": (2, Hkv, N, dv)}
    return {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}


def segments(N):
    """Packed sequences of uneven length, other ones in the second row."""
    cuts = torch.tensor([[N // 5, N // 2], [N // 3, N - 1]])
    return (torch.arange(N) >= cuts[..., None]).sum(1)


def probe(N, H=4, dv=6):
    return torch.randn(2, H, N, dv, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def alone(N, causal, packed):
    """Output and gradients in one process."""
    given = {key: x.requires_grad_() for key, x in inputs(N).items()}
    o = attention(**given, causal=causal, segments=segments(N) if packed else None, backend="reference")
    return (o.detach(), *torch.autograd.grad((o * probe(N)).sum(), list(given.values())))


def ring(ranks, N, layout, travels, causal, packed):
    own = deal(segments(N), ranks.world, layout, 1)[ranks.rank] if packed else None
    options = {"causal": causal, "layout": layout, "segments": own, "travels": travels}
    return _run(ranks, N, layout, lambda **given: ring_attention(**given, ranks=ranks, **options))


def two_passes(ranks, N, causal, packed):
    own = deal(segments(N), ranks.world, Contiguous(), 1)[ranks.rank] if packed else None
    options = {"causal": causal, "segments": own}
    return _run(ranks, N, Contiguous(), lambda **given: ring_self_attention(**given, ranks=ranks, **options))


def both(ranks, N):
    return [
        ring(ranks, N, Zigzag(), "keys", True, True),
        ring(ranks, N, Zigzag(), "queries", True, True),
        two_passes(ranks, N, True, True),
    ]


def _run(ranks, N, layout, attend):
    given = {key: deal(x, ranks.world, layout)[ranks.rank].requires_grad_() for key, x in inputs(N).items()}
    ranks.take()
    o = attend(**given)
    forward = ranks.take()
    loss = (o * deal(probe(N), ranks.world, layout)[ranks.rank]).sum()
    tensors = (o.detach(), *torch.autograd.grad(loss, list(given.values())))
    return {"tensors": tensors, "traffic": (forward, ranks.take())}
