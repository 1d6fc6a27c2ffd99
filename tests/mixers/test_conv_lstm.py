"""Oracle: torch's LSTMCell, at pictures of one place."""

import pytest
import torch

from seefar.mixers import ConvLSTM, ConvLSTMState
from seefar.testing import check_streaming


def test_streams():
    torch.manual_seed(0)
    check_streaming(ConvLSTM(3), torch.randn(2, 12, 4, 3, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(ConvLSTM(3)), torch.randn(2, 9, 4, 3, 3))


def test_at_one_place_it_is_an_lstm():
    torch.manual_seed(0)
    ours, cell = ConvLSTM(4).double(), torch.nn.LSTMCell(4, 4, bias=False).double()
    i, f, o, g = ours.weight[..., 1, 1].chunk(4)  # all that is not the middle meets zeros
    with torch.no_grad():
        for theirs, part in ((cell.weight_ih, slice(0, 4)), (cell.weight_hh, slice(4, 8))):
            theirs.copy_(torch.cat([gate[:, part] for gate in (i, f, g, o)]))
    x = torch.randn(2, 7, 1, 1, 4, dtype=torch.float64)
    state = ConvLSTMState(*torch.randn(2, 2, 1, 1, 4, dtype=torch.float64))
    h, c = state.h_BHWD[:, 0, 0], state.c_BHWD[:, 0, 0]
    got, end = ours(x, state)
    for n in range(7):
        h, c = cell(x[:, n, 0, 0], (h, c))
        torch.testing.assert_close(got[:, n, 0, 0], h)
    torch.testing.assert_close(end.c_BHWD[:, 0, 0], c)


def test_what_was_shown_spreads_by_a_place_a_frame():
    x = torch.zeros(1, 5, 1, 11, 2)
    x[0, 0, 0, 5] = 1
    reached = [(frame.abs().sum((0, 2)) > 0).sum().item() for frame in ConvLSTM(2)(x)[0][0]]
    assert reached == [3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ConvLSTM(3, kernel=4), "odd side, such as 3, got 4"),
        (lambda: ConvLSTM(3)(torch.zeros(1, 2, 4, 4, 5)), r"\(B, N, H, W, 3\), got \(1, 2, 4, 4, 5\)"),
        (lambda: ConvLSTM(3)(torch.zeros(1, 1, 4, 4, 3), ConvLSTM(3)(torch.zeros(1, 1, 2, 2, 3))[1]), "2 x 2 places"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
