import pytest
import torch

from seefar.backbones.decimated import decimate
from seefar.backbones.sequence import SequenceModel
from seefar.mixers.bidirectional import BidirectionalMamba
from seefar.mixers.decimate import Decimated, Keep
from seefar.mixers.pattern import column
from seefar.mixers.selective import Mamba


def _model():
    torch.manual_seed(0)
    return SequenceModel(column("M F M", 4, M=lambda: Mamba(4, d_state=2)), 4, 7, words=7)


def test_logits_are_those_of_the_kept_tokens_and_the_model_itself_stays_as_it_was():
    model, ids = _model(), torch.randint(7, (2, 40))
    before = model(ids)[0]
    short = decimate(model, [0], keep=Keep(10, 0.5, 2), protect=3)
    logits, (seen, state) = short(ids)
    assert logits.shape == (2, 13, 7) and seen == 40 and state.kept_BK[:, -3:].tolist() == [[37, 38, 39]] * 2
    assert torch.equal(model(ids)[0], before) and not isinstance(model.column, Decimated)
    assert {p.data_ptr() for p in short.parameters()} == {p.data_ptr() for p in model.parameters()}
    assert short(ids[:, :1], (seen, state))[0].shape == (2, 1, 7)


def test_words_after_the_prompt_are_written_as_by_the_model_from_the_same_state():
    model, ids = _model(), torch.randint(7, (1, 20))
    _, (seen, state) = decimate(model, [2], keep=Keep(8, 0.5, 2))(ids)
    more = torch.randint(7, (1, 4))
    whole = decimate(model, [2], keep=Keep(8, 0.5, 2))(more, (seen, state))[0]
    torch.testing.assert_close(whole, model(more, (seen, state.inner))[0])


def test_another_column_is_refused():
    model = SequenceModel(BidirectionalMamba(4), 4, 7, words=7)
    with pytest.raises(ValueError, match="Stack for its column, got BidirectionalMamba"):
        decimate(model, [0])
