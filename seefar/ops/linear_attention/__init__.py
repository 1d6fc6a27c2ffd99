"""Linear attention: attention without the softmax, whose whole past fits into one matrix per head.

B batch, H heads, N tokens, d width of a query or key, dv width of a value.

| backend | runs on | work |
|---|---|---|
| chunked | floating dtypes on any device | matrix products inside and between chunks of 64 tokens |
| reference | anything | a loop over tokens |
"""

from __future__ import annotations

import torch
from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.linear_attention import chunked, reference

BACKENDS = {"chunked": chunked, "reference": reference}


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    decay: Tensor | None = None,
    causal: bool = True,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """What each query reads from a matrix into which every token writes its value at its key.

    S_t = g_t S_{t-1} + k_t v_t^T,    o_t = q_t S_t,

    so o_i = q_i (g_1 ... g_i) S_0 + sum_j (q_i . k_j) (product of the decays after token j up to token i) v_j over the
    tokens j <= i. When not causal a query also reads the tokens after it, faded by the decays after i up to j. A chunk
    goes on where the last one ended when it is given that one's second result as ``state``.

    Nothing is normalised. For weights that sum to one append a column of ones to v and divide by what comes out of it.

    Args:
        q: (B, H, N, d) queries, with feature map and scale already applied.
        k: (B, H, N, d) keys, likewise.
        v: (B, H, N, dv) values.
        state: (B, H, d, dv) the matrix before the first token, zero when left out; of the dtype of q, float32 at least.
        decay: the factor g in [0, 1] by which the past fades at each token: (H,) for one that is fixed for each head,
            (B, H, N) for gates that depend on the token; of the dtype of q, float32 at least. None keeps everything.
        causal: no query reads a token after it.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        (B, H, N, dv), and the matrix after the last token (B, H, d, dv), float32 at least.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> one = torch.ones(1, 1, 4, 1)
        >>> o, state = linear_attention(one, one, one, decay=torch.tensor([0.5]))
        >>> o.flatten().tolist(), state.item()
        ([1.0, 1.5, 1.75, 1.875], 1.875)

    Reference: Katharopoulos et al., Transformers are RNNs, arXiv 2006.16236; with one decay for each head Sun et al.,
    RetNet, arXiv 2307.08621; with gates Dao and Gu, Mamba-2, arXiv 2405.21060. Differs: no feature map, scale or norm.
    """
    check(q, k, v, state, decay)
    start = k.new_zeros((*k.shape[:2], k.shape[3], v.shape[3]), dtype=exact(k)) if state is None else state
    if q.shape[2] == 0:
        return (q * k).sum(-1, keepdim=True) * v, start
    present = [tensor for tensor in (q, k, v, state, decay) if tensor is not None]
    o, end = choose("linear_attention", BACKENDS, backend, *present)(
        *(x.to(start.dtype) for x in (q, k, v)), start, decay, causal
    )
    return o.to(v.dtype), end


def exact(x: Tensor) -> torch.dtype:
    """The dtype in which sums over tokens are kept: half precision would lose the past of a long sequence."""
    return torch.promote_types(x.dtype, torch.float32)


def check(q: Tensor, k: Tensor, v: Tensor, state: Tensor | None = None, decay: Tensor | None = None) -> None:
    """Raise the ValueError of ``linear_attention`` for tensors that do not fit each other."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not (q.ndim == k.ndim == v.ndim == 4 and q.shape == k.shape and k.shape[:3] == v.shape[:3]):
        raise ValueError(f"linear_attention: needs q (B, H, N, d), k (B, H, N, d), v (B, H, N, dv), got {shapes}")
    if len({(t.dtype, t.device) for t in (q, k, v)}) > 1:
        kinds = ", ".join(f"{name} {t.dtype} on {t.device}" for name, t in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"linear_attention: q, k and v must have one dtype and device, got {kinds}; call .to(q)")
    B, H, N, d = k.shape
    if state is not None and state.shape != (B, H, d, v.shape[3]):
        raise ValueError(
            f"linear_attention: state must be {(B, H, d, v.shape[3])} beside {shapes}, got {tuple(state.shape)}"
        )
    if decay is not None and decay.shape not in ((H,), (B, H, N)):
        raise ValueError(
            f"linear_attention: decay must be {(H,)}, one for each head, or {(B, H, N)}, one for each token, "
            f"got {tuple(decay.shape)}"
        )
    for name, value in (("state", state), ("decay", decay)):
        if value is not None and (value.dtype, value.device) != (exact(q), q.device):
            raise ValueError(
                f"linear_attention: {name} is {value.dtype} on {value.device} but q is {q.dtype} on {q.device}; "
                f"call {name}.to({exact(q)}) on {q.device} first"
            )
