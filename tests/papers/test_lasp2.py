"""LASP-2 is made of parts, and its experiment runs."""

import pytest
import torch

from seefar.distributed import on_ranks
from seefar.papers import lasp2
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(lasp2, Scale("smoke", (0,)))


def test_a_hybrid_sends_states_in_its_linear_layers_and_keys_in_the_softmax_one():
    def work(ranks):
        sent = []
        for attend in lasp2.build(ranks, "LLLN"):
            x = torch.ones(1, 2, 50, 4)
            attend(x, x, x)
            sent.append(ranks.take().sent)
        return sent

    state, keys = 2 * 4 * 4 * 4, 2 * 50 * (4 + 4) * 4
    assert on_ranks(2, work, where="threads") == [[state, state, state, keys]] * 2


def test_a_layer_of_another_letter_is_refused():
    with pytest.raises(ValueError, match=r"L \(linear\) and N \(softmax\), such as 'LLLN', got 'LLM'"):
        lasp2.build(None, "LLM")
