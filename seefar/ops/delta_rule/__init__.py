"""The delta rule: linear attention whose memory is corrected, so that a key that is written again holds its new value.

B batch, H heads, N tokens, d width of a query or key, dv width of a value.

| backend | runs on | work |
|---|---|---|
| chunked | floating dtypes on any device | matrix products and one triangular solve for each chunk of 64 tokens |
| reference | anything | a loop over tokens |
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.delta_rule import chunked, reference
from seefar.ops.linear_attention import exact

BACKENDS = {"chunked": chunked, "reference": reference}


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    state: Tensor | None = None,
    *,
    decay: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """What each query reads from a matrix in which every token replaces what was held at its key by its value.

    S_t = g_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,    o_t = q_t S_t

    With beta = 1 and a key of length one the token's own key then reads v_t exactly; beta = 0 writes nothing. Keys that
    are orthogonal to each other never correct one another, which leaves linear attention over beta v. A chunk goes on
    where the last one ended when it is given that one's second result as ``state``.

    Keys are used as they come: the matrix stays bounded as long as beta |k|^2 lies in [0, 2].

    Args:
        q: (B, H, N, d) queries, with feature map and scale already applied.
        k: (B, H, N, d) keys, likewise; of length one for most uses.
        v: (B, H, N, dv) values.
        beta: (B, H, N) how far each token moves what its key holds towards its value; of the dtype of q.
        state: (B, H, d, dv) the matrix before the first token, zero when left out; of the dtype of q, float32 at least.
        decay: the factor g in [0, 1] by which the past fades at each token: (H,) for one that is fixed for each head,
            (B, H, N) for gates that depend on the token; of the dtype of q, float32 at least. None keeps everything.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        (B, H, N, dv), and the matrix after the last token (B, H, d, dv), float32 at least.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> one = torch.ones(1, 1, 3, 1)
        >>> o, state = delta_rule(one, one, torch.tensor([[[[5.0], [7.0], [9.0]]]]), torch.tensor([[[1.0, 0.5, 1.0]]]))
        >>> o.flatten().tolist(), state.item()
        ([5.0, 6.0, 9.0], 9.0)

    Reference: Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length, arXiv
    2406.06484; with decay Yang et al., Gated Delta Networks, arXiv 2412.06464. Differs: the matrix is kept transposed,
    keys in rows as in ``linear_attention``; no feature map, scale or norm.
    """
    _check(q, k, v, beta, state, decay)
    start = k.new_zeros((*k.shape[:2], k.shape[3], v.shape[3]), dtype=exact(q)) if state is None else state
    if q.shape[2] == 0:
        return (q * k).sum(-1, keepdim=True) * v, start
    if decay is not None and decay.ndim == 1:
        decay = decay[None, :, None].expand(beta.shape)
    present = [tensor for tensor in (q, k, v, beta, state, decay) if tensor is not None]
    o, end = choose("delta_rule", BACKENDS, backend, *present)(
        *(x.to(start.dtype) for x in (q, k, v, beta)), start, decay
    )
    return o.to(v.dtype), end


def _check(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None, decay: Tensor | None) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not (q.ndim == k.ndim == v.ndim == 4 and q.shape == k.shape and k.shape[:3] == v.shape[:3]):
        raise ValueError(f"delta_rule: needs q (B, H, N, d), k (B, H, N, d), v (B, H, N, dv), got {shapes}")
    (B, H, N, d), dv = k.shape, v.shape[3]
    wanted: dict[str, tuple[Tensor | None, list[tuple[int, ...]], torch.dtype]] = {
        "k": (k, [(B, H, N, d)], q.dtype),
        "v": (v, [(B, H, N, dv)], q.dtype),
        "beta": (beta, [(B, H, N)], q.dtype),
        "state": (state, [(B, H, d, dv)], exact(q)),
        "decay": (decay, [(H,), (B, H, N)], exact(q)),
    }
    for name, (value, fits, dtype) in wanted.items():
        if value is None:
            continue
        if value.shape not in fits:
            options = " or ".join(map(str, fits))
            raise ValueError(f"delta_rule: {name} must be {options} beside {shapes}, got {tuple(value.shape)}")
        if (value.dtype, value.device) != (dtype, q.device):
            raise ValueError(
                f"delta_rule: {name} is {value.dtype} on {value.device} but q is {q.dtype} on {q.device}; "
                f"call {name}.to({dtype}) on {q.device} first"
            )
