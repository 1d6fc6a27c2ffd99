"""State space duality in matrix products: quadratic inside a chunk, one state from each chunk to the next.

Chunks are taken a few at a time, so that what is worked out between two products stays in the processor's cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 64
AT_ONCE = 2**18
"""Weights between two tokens that are held at a time, over all heads and rows; one chunk may need more."""


def cannot_run(x: Tensor, *_: Tensor) -> str | None:
    """Needs numbers that have gradients."""
    return None if x.dtype.is_floating_point else f"needs a floating dtype, got {x.dtype}"


def run(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
    """Twice differentiable; memory grows with N, not with its square."""
    (Bt, N, H, P), G = x.shape, B.shape[2]
    # a difference of two large sums must still tell a decay near one: float32 would round it away
    logs, sizes = dt.double() * A.double(), _pieces(N, Bt * H)
    state, rows = h.unflatten(1, (G, -1)).flatten(2, 3), []
    for now in zip(*(part.split(sizes, 1) for part in (x, dt, logs, B, C)), strict=True):
        row, state = _piece(now[0] * now[1][..., None], now[2], now[3], now[4], state)
        rows.append(row if D is None else torch.addcmul(row, D[:, None], now[0]))
    return rows[0] if len(rows) == 1 else torch.cat(rows, 1), state.unflatten(2, (-1, P)).flatten(1, 2)


def _pieces(N: int, heads: int) -> list[int]:
    """Lengths: of whole chunks, as many together as AT_ONCE allows, and the rest behind them."""
    whole = N // CHUNK * CHUNK
    long = CHUNK * max(1, AT_ONCE // (CHUNK * CHUNK * heads))
    sizes = [min(long, whole - begin) for begin in range(0, whole, long)]
    return sizes + [N - whole] * (whole < N)


def _piece(pushed: Tensor, logs: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Chunks (c of l tokens) of dt x (Bt, N, H, P), and the states (Bt, G, H / G * P, S) of all heads of a group."""
    G, P, size = B.shape[2], pushed.shape[3], min(CHUNK, pushed.shape[1])
    pushed, logs, B, C = (part.unflatten(1, (-1, size)) for part in (pushed, logs, B, C))
    B_cGlS, C_cGlS = B.transpose(2, 3), C.transpose(2, 3)
    sums_cHl = logs.cumsum(2).transpose(2, 3)
    later = torch.ones(size, size, dtype=torch.bool, device=pushed.device).triu(1)
    fade = (sums_cHl[..., :, None] - sums_cHl[..., None, :]).to(pushed.dtype).masked_fill(later, -torch.inf).exp()
    scores_cGll = C_cGlS @ B_cGlS.mT
    weights_cHll = (fade.unflatten(2, (G, -1)) * scores_cGll[:, :, :, None]).flatten(2, 3)
    near_cHlP = weights_cHll @ pushed.transpose(2, 3)

    since_clH = sums_cHl.exp().to(pushed.dtype).transpose(2, 3)
    left_clH = (sums_cHl[..., -1:] - sums_cHl).exp().to(pushed.dtype).transpose(2, 3)
    # the heads of a group lie beside each other, so that one product serves all of them
    kept = (pushed * left_clH[..., None]).unflatten(3, (G, -1)).permute(0, 1, 3, 4, 5, 2).flatten(3, 4)
    gains = since_clH[:, :, -1].unflatten(2, (G, -1)).repeat_interleave(P, 3)[..., None]
    entering = []
    for push, gain in zip((kept @ B_cGlS).unbind(1), gains.unbind(1), strict=True):
        entering.append(state)
        state = torch.addcmul(push, gain, state)
    far = C_cGlS @ (torch.stack(entering, 1) if len(entering) > 1 else entering[0][:, None]).mT
    far_clHP = far.unflatten(4, (-1, P)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4)
    return torch.addcmul(near_cHlP.transpose(2, 3), far_clHP, since_clH[..., None]).flatten(1, 2), state
