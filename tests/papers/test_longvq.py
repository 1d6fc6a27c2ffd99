"""LongVQ: its file keeps its shape, what it builds streams, and what it is compared with has as many weights."""

import torch

from seefar.evals.language import state_bytes
from seefar.mixers.scored import ScoredAttention, TurningBias
from seefar.papers import longvq
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming


def _small(**changes):
    torch.manual_seed(0)
    return longvq.build(4, 2, **({"codes": 5, "block": 3, "states": 2, "width": 4} | changes))


def _taught(**changes):
    column = _small(**changes)
    column(torch.randn(2, 30, 4))
    return column.eval()


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(longvq, Scale("smoke", (0,)))


def test_what_it_builds_streams_in_a_state_of_one_size():
    column = _taught()
    assert column.causal and column.bounded
    check_streaming(column, torch.randn(1, 17, 4))
    assert len({state_bytes(column(torch.randn(1, n, 4).double())[1]) for n in (1, 9, 90)}) == 1


def test_a_far_token_is_felt_through_its_code():
    column, x = _taught(averages=False), torch.randn(1, 30, 4)
    moved = x.clone()
    moved[:, 0] += 3
    assert not torch.allclose(column(x)[0][:, -1], column(moved)[0][:, -1])


def test_mega_in_chunks_has_as_many_weights():
    mega = _small(attention=lambda: ScoredAttention(chunk=3, bias=TurningBias(4)))
    assert sum(w.numel() for w in mega.parameters()) == sum(w.numel() for w in _small().parameters())
