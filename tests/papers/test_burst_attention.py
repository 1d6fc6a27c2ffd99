"""BurstAttention is made of parts, and its experiment runs."""

import torch

from seefar.distributed import Zigzag, collect, deal, on_ranks
from seefar.ops.attention import attention
from seefar.papers import burst_attention
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(burst_attention, Scale("smoke", (0,)))


def test_it_is_causal_attention_over_a_zigzag():
    x = torch.randn(1, 2, 8, 4, dtype=torch.float64)

    def work(ranks):
        own = deal(x, 2, Zigzag())[ranks.rank]
        return burst_attention.build(ranks)(own, own, own)

    torch.testing.assert_close(collect(on_ranks(2, work, where="threads"), Zigzag()), attention(x, x, x, causal=True))
