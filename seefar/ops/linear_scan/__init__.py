"""Linear scan: every state of a recurrence that is linear in its state.

B batch, N tokens; any trailing axes are independent channels.

| backend | runs on | gradients |
|---|---|---|
| numba | CPU, float32 and float64; `pip install 'seefar[fast]'` | one reverse kernel |
| blocked | any device, floating and complex | a reverse scan of the same kind, so twice differentiable |
| reference | anything | autograd through the loop |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.linear_scan import blocked, numba, reference

BACKENDS = {"numba": numba, "blocked": blocked, "reference": reference}


def linear_scan(a: Tensor, b: Tensor, h0: Tensor | None = None, *, backend: str | None = None) -> Tensor:
    """Every state h_1 ... h_N of a recurrence with its own gain at each token and channel.

    h_t = a_t * h_{t-1} + b_t, elementwise. A chunk goes on where the last one ended when it is given
    ``h0 = h[:, -1]``.

    Args:
        a: (B, N, ...) gains.
        b: (B, N, ...) inputs.
        h0: (B, ...) the state before the first token, zero when left out.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        (B, N, ...) the state after each token.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> linear_scan(torch.full((1, 4, 1), 0.5), torch.ones(1, 4, 1)).flatten().tolist()
        [1.0, 1.5, 1.75, 1.875]

    Reference: Blelloch, Prefix Sums and Their Applications, CMU-CS-90-190. Differs: blocks of about sqrt(N) tokens
    instead of a tree, which moves less memory on a machine of few cores.
    """
    if a.ndim < 2 or a.shape != b.shape:
        raise ValueError(f"linear_scan: a {tuple(a.shape)} and b {tuple(b.shape)} must have one shape (B, N, ...)")
    if h0 is not None and h0.shape != (a.shape[0], *a.shape[2:]):
        raise ValueError(
            f"linear_scan: h0 must be {(a.shape[0], *a.shape[2:])}, a without its axis 1, got {tuple(h0.shape)}"
        )
    for name, value in (("b", b), ("h0", h0)):
        if value is not None and (value.dtype, value.device) != (a.dtype, a.device):
            raise ValueError(
                f"linear_scan: {name} is {value.dtype} on {value.device} but a is {a.dtype} on {a.device}; "
                f"call {name}.to(a) first"
            )
    if a.shape[1] == 0:
        return a * b
    start = b.new_zeros((a.shape[0], *a.shape[2:])) if h0 is None else h0
    return choose("linear_scan", BACKENDS, backend, a)(a, b, start)
