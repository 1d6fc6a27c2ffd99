"""How many examples one layer of attention can memorise: the line of the theorem, ranks, and weights that reach it.

T examples, n context tokens, d channels, H heads, r channels of a query or key.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seefar.ops.attention import attention

SATURATED = 60.0
"""A logit so far above the others leaves them less than 1e-26 of the weight."""


class Heads(NamedTuple):
    """Weights of queries and keys, both (H, d, r)."""

    q: Tensor
    k: Tensor


def memorisation_line(heads: int, context: int, dim: int, *, head_dim: int | None = None) -> int:
    """Examples with any labels that a layer can surely fit: H (min(n, d_h) - 1) + 1.

    An example is a query and its context; it holds if any n of the queries are linearly independent, and the n tokens
    of each context too.

    Args:
        heads: H.
        context: n, without the query, which is no key.
        dim: d, above n.
        head_dim: d_h of queries and keys; d when left out.

    Raises:
        ValueError: n is not below d: then nothing is proven.

    Reference: Mahdavi et al., arXiv 2306.02010, theorem 1.
    """
    if min(heads, context) < 1 or context >= dim:
        raise ValueError(
            f"memorisation_line: the theorem needs a head, a token of context, and fewer tokens than channels; "
            f"got {heads=}, {context=}, {dim=}"
        )
    return heads * (min(context, dim if head_dim is None else head_dim) - 1) + 1


def random_heads(heads: int, dim: int, *, head_dim: int | None = None, size: float = 1.0, seed: int) -> Heads:
    """Gaussian weights in float64, of logits of about ``size`` for queries and tokens of length 1."""
    shape = heads, dim, dim if head_dim is None else head_dim
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return Heads(q, k * size / shape[2] ** 0.5)


def attention_features(heads: Heads, queries: Tensor, contexts: Tensor, *, scale: float = 1.0) -> Tensor:
    """(T, H d) what every head hands on before values and output: the mean of its context, weighted by its softmax.

    z_h = E^T softmax(scale E W_k,h W_q,h^T e). With one value channel a head, d_v = 1, a layer's output is a linear
    map of all z_h, and any linear map of them is the output of such a layer.

    Args:
        heads: the weights.
        queries: (T, d) e; no query is a key.
        contexts: (n, d) E of all examples, or (T, n, d) one for each.
        scale: of the logits. The text of the paper has 1; the official code divides by sqrt(d), the channels of its
            input, and not by the sqrt of the channels of a head.
    """
    shared = contexts.ndim == 2
    E = contexts[None] if shared else contexts
    q = torch.einsum("td,hdr->thr", queries, heads.q)
    q = q.transpose(0, 1)[None] if shared else q[:, :, None]  # the examples of one context are queries of one call
    k = torch.einsum("bnd,hdr->bhnr", E, heads.k)
    z = attention(q, k, E[:, None].expand(-1, len(heads.q), -1, -1), scale=scale)
    return (z[0].transpose(0, 1) if shared else z[:, :, 0]).flatten(1)


def attention_rank(heads: Heads, queries: Tensor, contexts: Tensor, *, scale: float = 1.0) -> int:
    """Of the features: how many examples the output weights alone can fit, whatever their labels.

    For almost all weights min(T, H (n - 1) + 1) where examples share a context of n independent tokens, min(T, H d)
    where each has its own, of two tokens or more.

    Raises:
        ValueError: anything but float64, in which small singular values tell from rounding.
    """
    for name, part in (("queries", queries), ("contexts", contexts), ("heads", heads.q)):
        if part.dtype != torch.float64:
            raise ValueError(f"attention_rank: a rank needs float64, {name} are {part.dtype}; call .double() first")
    return int(torch.linalg.matrix_rank(attention_features(heads, queries, contexts, scale=scale)))


def memorise(
    heads: Heads, queries: Tensor, contexts: Tensor, labels: Tensor, *, scale: float = 1.0
) -> tuple[Tensor, float]:
    """Output weights (H d,) that fit labels (T,) best, by least squares, and the largest error that is left.

    Raises:
        ValueError: one example twice with two labels, which no layer can tell apart.
    """
    whole = torch.cat([queries, contexts.expand(len(queries), -1, -1).flatten(1)], 1)
    kinds, kind = whole.unique(dim=0, return_inverse=True)
    if len(kinds) < len(whole):
        first = torch.zeros(len(kinds), dtype=labels.dtype).scatter(0, kind, labels)
        if bool((first[kind] != labels).any()):
            raise ValueError(f"memorise: {len(whole) - len(kinds)} examples come twice, with different labels")
    features = attention_features(heads, queries, contexts, scale=scale)
    readout = torch.linalg.lstsq(features, labels[:, None], driver="gelsd").solution[:, 0]
    return readout, float((features @ readout - labels).abs().max())


def greedy_heads(queries: Tensor, contexts: Tensor, heads: int, *, head_dim: int | None = None, seed: int = 0) -> Heads:
    """Heads that take up r - 1 examples each, one head after the other, so that H (r - 1) + 1 are told apart.

    A head looks away from its own examples by a direction g that is orthogonal to their queries and on one side of
    all that no head has taken up yet. Along g its softmax saturates: those others all get one token. To its own
    examples it gives one token each, all different. Then the features are a triangle of blocks, of full rank where the
    context is shared; where it isn't, full rank is what tests find, not what is proven here.

    W_h = sum over own t of u_t f_t^T + c v g^T,    f_t dual to the own queries,    r = min(n, d_h)

    Args:
        queries: (T, d) float64, T at most H (r - 1) + 1, all in one open half-space through the mean, as positive ones.
        contexts: (n, d) or (T, n, d), tokens independent.
        heads: H.
        head_dim: d_h; d when left out.
        seed: of the directions.

    Raises:
        ValueError: more examples than the line, queries that surround the origin, or tokens that depend on each other.

    Reference: Mahdavi et al., arXiv 2306.02010, theorem 1. Differs: the paper's proof needs no half-space, and lets
    saturation run to its limit; here the examples of a head are a face of the cone of queries, and the weights finite.
    """
    n, dim = contexts.shape[-2:]
    line = memorisation_line(heads, n, dim, head_dim=head_dim)
    group, rank = (line - 1) // heads, (line - 1) // heads + 1
    if len(queries) > line:
        raise ValueError(f"greedy_heads: {heads} heads take up {line} examples, got {len(queries)}")
    if int(torch.linalg.matrix_rank(contexts).min()) < n:
        raise ValueError(f"greedy_heads: the {n} tokens of a context must be linearly independent")
    generator = torch.Generator().manual_seed(seed)
    left, made = torch.arange(len(queries)), []
    for _ in range(heads):
        own, g = _face(queries, left, min(group, len(left)), generator)
        left = left[~torch.isin(left, own)]
        made.append(_head(queries, contexts, own, left, g, rank, generator))
    return Heads(*(torch.stack(part) for part in zip(*made, strict=True)))


def _face(queries: Tensor, left: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``count`` of the examples left and a direction that is 0 on their queries and positive on all others left."""
    g = torch.nn.functional.normalize(queries, dim=1).mean(0)
    away = queries[left] @ g
    if bool((away <= 0).any()):
        raise ValueError("greedy_heads: queries must lie in a half-space, such as that of positive ones; shift them")
    own = torch.zeros(len(left), dtype=torch.bool)
    while int(own.sum()) < count:
        step = torch.randn(len(g), generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(torch.cat([queries[left[own]], g[None]]).mT)[0]
        step = step - basis @ (basis.mT @ step)
        slopes = queries[left] @ step
        if not bool((slopes[~own] < 0).any()):
            step, slopes = -step, -slopes
        far = torch.where(~own & (slopes < 0), (queries[left] @ g) / -slopes, torch.inf)
        own[far.argmin()] = True
        g = torch.nn.functional.normalize(g + far.min() * step, dim=0)
        touched = torch.linalg.qr(queries[left[own]].mT)[0]
        g = g - touched @ (touched.mT @ g)
    return left[own], g


def _head(
    queries: Tensor,
    contexts: Tensor,
    own: Tensor,
    left: Tensor,
    g: Tensor,
    rank: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Weights (d, r) of queries and of keys of one head, which takes up the examples ``own`` and not those ``left``."""
    each = contexts.expand(len(queries), -1, -1)
    solve = torch.linalg.pinv(contexts)  # E pinv(E) is the identity: it makes keys for any logits
    f_dG = torch.linalg.pinv(queries[own])
    token = torch.arange(1, len(own) + 1)
    u_dG = SATURATED * (solve[:, token] if contexts.ndim == 2 else solve[own, :, token].mT)
    wild = torch.randn(len(g), generator=generator, dtype=torch.float64)
    v = solve[:, 0] if contexts.ndim == 2 else wild
    c = torch.tensor(SATURATED, dtype=torch.float64)
    if len(left):
        best = (each[left] @ v).topk(2).values
        noise = (each[left] @ u_dG @ (queries[left] @ f_dG)[..., None]).abs().amax((1, 2))
        c = ((SATURATED + 2 * noise) / ((best[:, 0] - best[:, 1]) * (queries[left] @ g))).max()
    spare = queries.new_zeros(len(g), rank - 1 - len(own))
    return torch.cat([f_dG, g[:, None], spare], 1), torch.cat([u_dG, c * v[:, None], spare], 1)
