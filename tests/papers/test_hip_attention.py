"""HiP attention: its file keeps its shape, its arms see as many keys, what it builds is exact where all fits."""

import pytest
import torch

from seefar.papers import hip_attention as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_is_exact_where_all_fits_and_sees_few_keys_where_not():
    q, k, v = torch.randn(3, 1, 2, 700, 8).double()
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(paper.build()(q, k, v), want, rtol=1e-10, atol=1e-10)
    few = paper.build(64, block=(8, 2), window=32, sinks=2).mask(q, k)
    assert few.pairs_per_row.max() <= 64 + 32 + 2 + 8 and few.pairs_per_row[..., -8].min() >= 98


def test_contenders_of_the_race_attend_to_as_many_new_tokens():
    race = paper._decoding(Scale("smoke", (0,)))
    outs = {name: prepare(12)() for name, prepare in race.items()}  # 20 keys at most: all fit
    for out in outs.values():
        torch.testing.assert_close(out, outs["dense"])


def test_it_refuses_keys_that_are_no_whole_blocks():
    with pytest.raises(ValueError, match="multiple of a block's 2 keys, got 63"):
        paper.build(63)
