import pytest
import torch

from seefar.backbones import SequenceModel
from seefar.backbones.rollback import rolled_back
from seefar.mixers import Attention, Mamba, column
from seefar.positions.rope import Rope


def _model(letter):
    torch.manual_seed(0)
    mixers = {
        "A": lambda: Attention(8, 2, rope=Rope(4)),
        "W": lambda: Attention(8, 2, window=4),
        "M": lambda: Mamba(8, d_state=2),
    }
    return SequenceModel(column(f"({letter} F)*2", 8, **mixers), 8, 5, words=5, positions=30).double()


def test_what_comes_after_tokens_that_were_taken_back_is_as_if_they_had_never_been():
    model, ids = _model("A"), torch.randint(5, (2, 20))
    state = rolled_back(model(ids[:, :12])[1], 5)
    torch.testing.assert_close(model(ids[:, 7:], state)[0], model(ids)[0][:, 7:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("letter", "why"), [("W", "a window has dropped"), ("M", "MambaState sums its past up")])
def test_what_cannot_be_taken_back_is_refused(letter, why):
    with pytest.raises(ValueError, match=why):
        rolled_back(_model(letter)(torch.randint(5, (1, 12)))[1], 2)


def test_more_tokens_than_were_read_are_refused():
    with pytest.raises(ValueError, match="12 tokens were read, so 13"):
        rolled_back(_model("A")(torch.randint(5, (1, 12)))[1], 13)
