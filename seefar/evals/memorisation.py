"""How many random labels a layer of attention learns by gradient, and what the ranks of its features allow.

M layers, T examples, n context tokens, d channels, H heads, W = H n weights of an example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seefar.analysis.capacity import Heads, attention_rank, greedy_heads, memorise, random_heads
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.training.fit import fit

Shape = tuple[int, int, int]
"""Heads, context tokens, channels."""


@dataclass(frozen=True)
class Examples:
    """Random ones: queries (T, d), contexts (n, d) of all or (T, n, d) of each, labels (T,); uniform in [0, 1)."""

    queries: Tensor
    contexts: Tensor
    labels: Tensor


def examples(count: int, shape: Shape, *, shared: bool = True, twins: bool = False, seed: int) -> Examples:
    """The official task: its fixed contexts if ``shared``, else its random ones, with labels to regress.

    Args:
        count: T.
        shape: of the layer.
        shared: one context for all.
        twins: the first two tokens of each context are one and the same.
        seed: of all.
    """
    _, n, d = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = (count, d), (n, d) if shared else (count, n, d), (count,)
    made = Examples(*(torch.rand(size, generator=generator, dtype=torch.float64) for size in sizes))
    if twins:
        made.contexts[..., 1, :] = made.contexts[..., 0, :]
    return made


def rank_of_features(count: int, *, shared: bool = True, twins: bool = False, size: float = 3.0) -> Arm:
    """The rank of what random heads hand on, by the shape of the layer: examples that output weights alone can fit.

    Args:
        count: T.
        shared: one context for all.
        twins: two tokens of a context coincide.
        size: of logits; 0 for attention that is even over the context.
    """

    def prepared(seed: int) -> Measure:
        def measure(shape: Shape) -> float:
            made = examples(count, shape, shared=shared, twins=twins, seed=seed)
            return attention_rank(_drawn(shape, size, seed), made.queries, made.contexts)

        return measure

    return prepared


def error_at_the_line(*, built: bool, shared: bool = True, beyond: int = 0) -> Arm:
    """The largest error on H (n - 1) + 1 labels after output weights are solved for, by the shape of the layer.

    Args:
        built: heads of the greedy construction, else random ones.
        shared: one context for all.
        beyond: examples above the line.
    """

    def prepared(seed: int) -> Measure:
        def measure(shape: Shape) -> float:
            H, n, _ = shape
            made = examples(H * (n - 1) + 1 + beyond, shape, shared=shared, seed=seed)
            data = made.queries, made.contexts
            heads = greedy_heads(*data, H, seed=seed) if built else _drawn(shape, 3.0, seed)
            return memorise(heads, *data, made.labels)[1]

        return measure

    return prepared


def learnt_examples(
    counts: Sequence[int], setting: Setting, *, steps: int = 400, error: float = 0.01, lr: float = 0.03
) -> Arm:
    """How many examples with one context a layer learns by gradient, by its shape.

    Layers of one seed learn 1, 2, 3 ... of the same examples, side by side. The count is where the mean squared error
    first goes above ``error`` of the variance of labels, on the line between logarithms of two counts.

    Args:
        counts: of examples that are tried, rising; the count lies between the first and the last of them.
        setting: the scale.
        steps: of training.
        error: a share of the variance of labels.
        lr: the highest learning rate.
    """
    if list(counts) != sorted(set(counts)) or len(counts) < 2:
        raise ValueError(f"learnt_examples: needs two counts or more that rise, got {list(counts)}")

    def prepared(seed: int) -> Measure:
        def measure(shape: Shape) -> float:
            torch.manual_seed(seed)
            made = examples(counts[-1], shape, seed=seed)
            net = QueryLayers(len(counts), shape)
            seen_MT = (torch.arange(counts[-1]) < torch.tensor(counts)[:, None]).double()
            labels = (made.labels - 0.5) * math.sqrt(12)  # of variance 1

            def errors(layers: nn.Module) -> Tensor:
                return left_over(layers(made.queries, made.contexts), labels, seen_MT)

            fit(
                net,
                lambda step: step,
                lambda layers, _: (errors(layers).sum(), {}),
                steps=steps,
                lr=lr,
                weight_decay=0.0,
                clip=math.inf,  # layers are independent: one must not slow another down
                progress=setting.progress,
            )
            with torch.no_grad():
                return crossing(counts, errors(net).tolist(), error)

        return measure

    return prepared


class QueryLayers(nn.Module):
    """The softmax weights of M independent layers of attention, from queries to one context.

    softmax(E W_k,h W_q,h^T e / sqrt(d)),    W_q and W_k of d columns in every head

    As in the official code the query is no key, all channels go into each head, and logits are divided by sqrt(d).
    Differs: there is no embedding, no place of a token, no decoder behind.

    Reference: Mahdavi et al., arXiv 2306.02010.
    """

    def __init__(self, layers: int, shape: Shape) -> None:
        super().__init__()
        heads, _, dim = shape
        limit = math.sqrt(3 / dim)
        size = layers, heads, dim, dim
        self.q, self.k = (nn.Parameter(torch.empty(size, dtype=torch.float64).uniform_(-limit, limit)) for _ in "qk")

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """(M, T, W) the weights of every example on the tokens, head after head."""
        logits = (queries @ self.q) @ (context @ self.k).mT / math.sqrt(queries.shape[-1])
        return logits.softmax(-1).transpose(1, 2).flatten(2)


def left_over(weights_MTW: Tensor, labels: Tensor, seen_MT: Tensor, *, ridge: float = 1e-8) -> Tensor:
    """(M,) the mean squared error on the examples that each layer sees, with its best values for the tokens.

    The output is linear in the values of tokens, H n numbers that are free if the n tokens are linearly independent, so
    they are solved for and only the attention is learnt: its gradient is that at the best values.

    Reference: variable projection, Golub and Pereyra 1973. Differs: the paper trains values and output by gradient too.
    """
    seen = weights_MTW * seen_MT[..., None]
    wanted = (labels * seen_MT)[..., None]
    with torch.no_grad():
        eye = torch.eye(seen.shape[-1], dtype=seen.dtype)
        values = torch.linalg.solve(seen.mT @ seen + ridge * eye, seen.mT @ wanted)
    return (seen @ values - wanted).square().sum((1, 2)) / seen_MT.sum(1)


def crossing(counts: Sequence[int], errors: Sequence[float], error: float) -> float:
    """The count at which errors first go above ``error``, on the line between logarithms; the last one if none does."""
    for i, value in enumerate(errors):
        if value > error:
            if i == 0:
                return float(counts[0])
            low, high = (math.log(max(errors[j], 1e-12)) for j in (i - 1, i))
            share = (math.log(error) - low) / (high - low)
            return counts[i - 1] ** (1 - share) * counts[i] ** share
    return float(counts[-1])


def straightness(points: Sequence[float], values: Sequence[float]) -> float:
    """R^2 of the best line through values by points."""
    both = torch.tensor([list(points), list(values)], dtype=torch.float64)
    return float(torch.corrcoef(both)[0, 1] ** 2)


def _drawn(shape: Shape, size: float, seed: int) -> Heads:
    return random_heads(shape[0], shape[2], size=size, seed=seed)
