"""The delta rule in matrix products: one triangular solve inside a chunk, one matrix from each chunk to the next.

Inside a chunk that begins with the matrix S, let F_ij be the decay until token i of what token j wrote, G_i that of S,
and u_i what token i adds at its key. Then

    u_i + beta_i sum_{j < i} F_ij (k_i . k_j) u_j = beta_i (v_i - G_i k_i S)

is solved for all i at once, with v and with G k on the right, so that u = U - W S is known up to S. As in linear
attention nothing is divided by a decay: a gate of zero, which forgets everything, is as good as any other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.ops.linear_attention.chunked import _fade

CHUNK = 64


def cannot_run(q: Tensor, *_: Tensor) -> str | None:
    """Needs numbers that have gradients."""
    return None if q.dtype.is_floating_point else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor, decay: Tensor | None) -> tuple[Tensor, Tensor]:
    """Twice differentiable; memory grows with N, not with its square."""
    N, (d, dv) = q.shape[2], state.shape[2:]
    size = min(CHUNK, N)
    if lacking := -N % size:  # tokens that write nothing and fade nothing
        q, k, v = (F.pad(x, (0, 0, 0, lacking)) for x in (q, k, v))
        beta, decay = F.pad(beta, (0, lacking)), None if decay is None else F.pad(decay, (0, lacking), value=1.0)
    q, k, v, beta = (x.unflatten(2, (-1, size)) for x in (q, k, v, beta[..., None]))
    if decay is None:
        fade, since = q.new_ones(size, size).tril(), q.new_ones(size)
    else:
        fade, since = _fade(decay, size)
    # the solve takes ones for the diagonal and reads nothing above it
    known = beta * torch.cat([since[..., None] * k, v], -1)
    solved = torch.linalg.solve_triangular(beta * (k @ k.mT * fade), known, upper=False, unitriangular=True)
    W, U = solved.split([d, dv], -1)
    taken, pushes = ((k * fade[..., -1, :, None]).mT @ solved).split([d, dv], -1)
    kept = since[..., -1, None, None] * torch.eye(d, dtype=k.dtype, device=k.device) - taken
    entering = []
    for keep, push in zip(kept.unbind(2), pushes.unbind(2), strict=True):
        entering.append(state)
        state = keep @ state + push
    S = torch.stack(entering, 2)
    o = (since[..., None] * q) @ S + (q @ k.mT * fade) @ (U - W @ S)
    return o.flatten(2, 3)[:, :, :N], state
