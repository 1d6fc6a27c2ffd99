"""Linear attention in matrix products: quadratic inside a chunk, one matrix from each chunk to the next.

All decays are products of the factors themselves. Nothing is divided and no logarithm is taken, so a gate of zero,
which forgets everything, is as good as any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 64


def cannot_run(q: Tensor, *_: Tensor) -> str | None:
    """Needs numbers that have gradients."""
    return None if q.dtype.is_floating_point else f"needs a floating dtype, got {q.dtype}"


def run(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """Twice differentiable; memory grows with N, not with its square."""
    if causal:
        return _causal(q, k, v, state, decay)
    if decay is None:
        end = state + k.mT @ v
        return q @ end, end
    o, end = _causal(q, k, v, state, decay)
    if decay.ndim == 3:  # seen from the end, a token is faded by the gate of the token behind it
        decay = torch.cat([torch.ones_like(decay[..., :1]), decay.flip(2)[..., :-1]], 2)
    later, _ = _causal(q.flip(2), k.flip(2), v.flip(2), torch.zeros_like(state), decay)
    return o + later.flip(2) - (q * k).sum(-1, keepdim=True) * v, end  # both saw the token itself


def _causal(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None) -> tuple[Tensor, Tensor]:
    N = q.shape[2]
    size = min(CHUNK, N)
    whole = N // size * size
    if whole < N:
        each = decay is not None and decay.ndim == 3
        first, last = (
            (q[:, :, part], k[:, :, part], v[:, :, part], decay[:, :, part] if each and decay is not None else decay)
            for part in (slice(0, whole), slice(whole, N))
        )
        o_first, state = _causal(*first[:3], state, first[3])
        o_last, state = _causal(*last[:3], state, last[3])
        return torch.cat([o_first, o_last], 2), state
    q, k, v = (x.unflatten(2, (-1, size)) for x in (q, k, v))
    if decay is None:
        o = (q @ k.mT).tril() @ v
        pushes, reads = k.mT @ v, q
        gains = pushes.new_ones(1, 1, q.shape[2])
    else:
        fade, since = _fade(decay, size)
        o = (q @ k.mT * fade) @ v
        pushes, reads = (k * fade[..., -1, :, None]).mT @ v, q * since[..., None]
        gains = since[..., -1].expand(-1, -1, q.shape[2])
    entering = []
    # unbind: the gradient of an index would be as large as all chunks, once for each of them
    for push, gain in zip(pushes.unbind(2), gains[..., None, None].unbind(2), strict=True):
        entering.append(state)
        state = torch.addcmul(push, gain, state)
    return (o + reads @ torch.stack(entering, 2)).flatten(2, 3), state


def _fade(decay: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Inside each chunk: what token j has faded to at token i, zero for j > i; and what the chunk's start has.

    Returns:
        (B or 1, H, chunks or 1, size, size), and (B or 1, H, chunks or 1, size).
    """
    place = torch.arange(size, device=decay.device)
    after = place[:, None] > place
    if decay.ndim == 1:
        g = decay[None, :, None, None]
        return (g[..., None] ** (place[:, None] - place).clamp_min(0)).tril(), g ** (place + 1)
    g = decay.unflatten(2, (-1, size))
    # token j in rows, so that the product over i runs along memory
    fade = torch.where(after.mT, g[..., None, :], 1).cumprod(-1).mT.tril()
    return fade, g[..., :1] * fade[..., 0]
