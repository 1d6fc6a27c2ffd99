"""What a rank does in the tests of head blocks; a module of its own, so that another process can import it."""

import torch

from seefar.distributed import distributed_mha
from seefar.ops.attention import attention


def inputs(H=6, Hkv=2, N=11, M=11, d=4, dv=5):
    generator = torch.Generator().manual_seed(0)
    shapes = {"q": (2, H, N, d), "k": (2, Hkv, M, d), "v": (2, Hkv, M, dv)}
    return {key: torch.randn(*s, generator=generator, dtype=torch.float64) for key, s in shapes.items()}


def results(attend, **sizes):
    """Output and gradients of a loss that weighs every number."""
    given = {key: x.requires_grad_() for key, x in inputs(**sizes).items()}
    o = attend(**given)
    probe = torch.randn(o.shape, generator=torch.Generator().manual_seed(1), dtype=o.dtype)
    return (o.detach(), *torch.autograd.grad((o * probe).sum(), list(given.values())))


def alone(causal, **sizes):
    return results(lambda **given: attention(**given, causal=causal, backend="reference"), **sizes)


def tiled(ranks, head_parts, row_parts, causal, sizes=None):
    options = {"ranks": ranks, "head_parts": head_parts, "row_parts": row_parts, "causal": causal}
    ranks.take()
    traffic = []

    def attend(**given):
        o = distributed_mha(**given, **options)
        traffic.append(ranks.take())
        return o

    tensors = results(attend, **(sizes or {}))
    return {"tensors": tensors, "traffic": (*traffic, ranks.take())}
