"""Ring self-attention is made of parts, and its experiment runs."""

import torch

from seefar.distributed import on_ranks
from seefar.ops.attention import attention
from seefar.papers import sequence_parallelism
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(sequence_parallelism, Scale("smoke", (0,)))


def test_the_control_changes_gradients_alone():
    x = torch.randn(1, 2, 6, 4, dtype=torch.float64, requires_grad=True)

    def work(ranks):
        attend = sequence_parallelism.build(ranks, causal=True)
        return [f(q=x, k=x, v=x) for f in (attend, sequence_parallelism.released(attend, 4))]

    ((right, divided),) = on_ranks(1, work, where="threads")
    torch.testing.assert_close(right, attention(x, x, x, causal=True))
    torch.testing.assert_close(right, divided)
    first, second = (torch.autograd.grad(o.square().sum(), x)[0] for o in (right, divided))
    torch.testing.assert_close(first / 4, second)
