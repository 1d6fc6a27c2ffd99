import pytest
import torch

from seefar.backbones.sequence import SequenceModel
from seefar.evals.decimation import at_once, distance_share
from seefar.mixers.pattern import column
from seefar.mixers.selective import Mamba
from seefar.synthetic.remote import VOCABULARY


def _model():
    torch.manual_seed(0)
    return SequenceModel(column("M M F", 4, M=lambda: Mamba(4, d_state=2)), 4, VOCABULARY, words=VOCABULARY)


def test_logits_are_those_of_the_changed_model():
    model, ids = _model(), torch.randint(VOCABULARY, (2, 9))
    assert torch.equal(at_once(lambda same: same)(model, ids), model(ids)[0])


def test_a_layer_that_never_fades_lies_about_half_the_text_back_and_one_that_forgets_at_its_end():
    model = _model()
    for rate, low, high in ((1e-9, 0.2, 0.8), (1e4, 0.0, 0.01)):
        with torch.no_grad():
            model.column.blocks[1].mixer.A_log.fill_(rate).log_()
        share = distance_share(lambda seed: model, 16, layer=1)(0)(256)
        assert low <= share < high


def test_a_layer_without_a_mamba_is_refused():
    with pytest.raises(ValueError, match="layer 2 is no block with a Mamba"):
        distance_share(lambda seed: _model(), 16, layer=2)(0)(32)
