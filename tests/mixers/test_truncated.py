import pytest
import torch

from seefar.mixers.recurrent import LSTM, RNN
from seefar.mixers.truncated import Truncated
from seefar.testing import check_streaming


def test_streams_and_cuts_at_the_same_tokens_whatever_the_chunks():
    check_streaming(Truncated(RNN(4), 5), torch.randn(2, 17, 4))


def test_outputs_stay_and_gradients_are_those_of_a_detached_state():
    torch.manual_seed(0)
    mixer, x = RNN(4, cell=LSTM), torch.randn(2, 10, 4, requires_grad=True)
    cut = Truncated(mixer, 4)(x)[0]
    torch.testing.assert_close(cut, mixer(x)[0])
    outs, state = [], None
    for piece in x.split(4, 1):
        out, state = mixer(piece, None if state is None else tuple(part.detach() for part in state))
        outs.append(out)
    for weights in (x, mixer.weight_hh_l0):
        (got,), (want,) = (
            torch.autograd.grad(y.square().sum(), weights, retain_graph=True) for y in (cut, torch.cat(outs, 1))
        )
        torch.testing.assert_close(got, want)
    (reach,) = torch.autograd.grad(Truncated(mixer, 4)(x)[0][:, 9].sum(), x)
    assert (reach[:, :8] == 0).all() and (reach[:, 8:] != 0).all()


def test_cuts_beyond_the_end_cut_nothing():
    mixer, x = RNN(4), torch.randn(1, 6, 4, requires_grad=True)
    (reach,) = torch.autograd.grad(Truncated(mixer, 100)(x)[0][:, -1].sum(), x)
    assert (reach[:, 0] != 0).all()


@pytest.mark.parametrize(
    "make, message",
    [(lambda: Truncated(RNN(4), 0), "got 0"), (lambda: Truncated(RNN(4, bidirectional=True), 3), "RNN is not causal")],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
