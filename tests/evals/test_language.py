from typing import NamedTuple

import pytest
import torch
from torch import nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.language import generating, loss_of, read, recall_of, state_bytes, unit_losses
from seefar.mixers import Attention, column
from seefar.synthetic.sentences import WORDS_OF_TEXT, phonebook


def model(words: int = 7) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(column("A F", 16, A=lambda: Attention(16, 2)), 16, words, words=words).double()


def test_the_loss_of_a_unit_is_that_of_the_logits_before_it():
    ids = torch.randint(7, (2, 9))
    logits = model()(ids)[0]
    expected = -logits.log_softmax(-1)[0, 3, ids[0, 4]]
    torch.testing.assert_close(unit_losses(logits, ids)[0, 3], expected)
    last = -logits.log_softmax(-1)[:, 6:8].gather(-1, ids[:, 7:, None]).mean()
    assert loss_of(model(), ids, last=2) == pytest.approx(float(last.detach()))


def test_a_text_read_in_chunks_gives_the_logits_of_the_whole():
    ids = torch.randint(7, (2, 23))
    torch.testing.assert_close(read(model(), ids, chunk=5), model()(ids)[0])


def test_recall_counts_whole_answers():
    data = phonebook(6, 3, digits=2, seed=0)

    class Knows(nn.Module):
        def __init__(self, right: int) -> None:
            super().__init__()
            self.right = right

        def forward(self, ids, state=None):
            logits = nn.functional.one_hot(data.ids, len(WORDS_OF_TEXT)).double().roll(-1, 1)
            logits[self.right :] = 0
            return logits, None

    assert recall_of(Knows(6), data) == 1 and recall_of(Knows(2), data) == pytest.approx(2 / 6)


def test_bytes_of_a_state_are_those_of_its_tensors():
    class State(NamedTuple):
        a: torch.Tensor
        rest: tuple

    assert state_bytes(State(torch.zeros(3, dtype=torch.float64), (torch.zeros(2), None, 5))) == 32


def test_generating_reads_the_past_once_and_holds_its_keys():
    call, held = generating(model().float(), 7, at_once=2)(50)
    assert held == 2 * 50 * 16 * 4  # keys and values of one layer
    call()
