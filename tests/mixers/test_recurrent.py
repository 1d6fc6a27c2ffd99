import pytest
import torch

from seefar.mixers.recurrent import ELMAN, GRU, LSTM, RNN
from seefar.testing import check_streaming

CELLS = {"RNN": ELMAN, "LSTM": LSTM, "GRU": GRU}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_streams(cell):
    check_streaming(RNN(6, cell=cell), torch.randn(2, 17, 6))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_broken_one_is_caught(cell, broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(RNN(4, cell=cell)), torch.randn(2, 9, 4))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_weights_of_torch_load_and_give_equal_outputs_states_and_gradients(name, both):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(8, 4 if both else 8, batch_first=True, bidirectional=both).double()
    ours = RNN(8, cell=CELLS[name], bidirectional=both).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 11, 8, dtype=torch.float64, requires_grad=True)
    want, end = theirs(x)
    got, state = ours(x)
    torch.testing.assert_close(got, want)
    if both:
        assert state is None
    else:
        torch.testing.assert_close(torch.stack(state), torch.cat(end if name == "LSTM" else [end]))
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), x) for y in (got, want)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_rows_of_any_length_are_as_if_packed(name, both):
    theirs = getattr(torch.nn, name)(6, 3 if both else 6, batch_first=True, bidirectional=both).double()
    ours = RNN(6, cell=CELLS[name], bidirectional=both).double()
    ours.load_state_dict(theirs.state_dict())
    x, lengths = torch.randn(4, 9, 6, dtype=torch.float64), torch.tensor([3, 9, 1, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    want, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours(x, lengths=lengths)[0], want)


def test_both_ends_reach_a_token_in_the_middle():
    mixer, x = RNN(4, cell=GRU, bidirectional=True), torch.randn(1, 9, 4, requires_grad=True)
    mixer(x)[0][:, 4].sum().backward()
    assert (x.grad[0].abs().sum(1) > 0).all()


def test_an_lstm_that_keeps_and_does_not_write_holds_its_cell_for_a_thousand_tokens():
    mixer = RNN(4, cell=LSTM).double()
    with torch.no_grad():
        mixer.bias_ih_l0[:4], mixer.bias_ih_l0[4:8] = -2000.0, 2000.0
        cell = torch.randn(1, 4, dtype=torch.float64)
        _, (_, end) = mixer(torch.randn(1, 1000, 4, dtype=torch.float64), (torch.zeros_like(cell), cell))
    assert torch.equal(end, cell)


def test_two_units_count_parity_without_an_error():
    mixer, steep = RNN(2, cell=ELMAN).double(), 50.0
    # h is sign(ones so far are odd, plus the bit, is at least 1) and the same for at least 2; parity = (h_1 - h_2) / 2
    with torch.no_grad():
        mixer.weight_ih_l0.copy_(steep * torch.tensor([[1.0, 0], [1, 0]]))
        mixer.weight_hh_l0.copy_(steep / 2 * torch.tensor([[1.0, -1], [1, -1]]))
        mixer.bias_ih_l0.copy_(steep * torch.tensor([-0.5, -1.5]))
        mixer.bias_hh_l0.zero_()
        bits = torch.randint(2, (64, 50))
        x = torch.stack([bits, bits], -1).double()
        # before the first token both units are at 0, which reads as an even count
        parity = mixer(x)[0] @ torch.tensor([0.5, -0.5], dtype=torch.float64)
    assert torch.equal(parity.round().long(), bits.cumsum(1) % 2)


def test_gates_begin_open_for_the_horizon():
    mixer = RNN(400, cell=LSTM, horizon=101)
    memory = 1 / (1 - mixer.bias_ih_l0[400:800].sigmoid())
    assert memory.min() >= 1.9 and memory.max() <= 101 and 40 < memory.mean() < 62
    torch.testing.assert_close(mixer.bias_ih_l0[:400], -mixer.bias_ih_l0[400:800])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RNN(5, bidirectional=True), "even"),
        (lambda: RNN(4, cell=ELMAN, horizon=10), "LSTM or GRU gates, got 10 and RNN"),
        (lambda: RNN(4, horizon=1), "at least 2 tokens"),
        (lambda: RNN(4)(torch.randn(2, 0, 4)), "at least one token"),
        (lambda: RNN(4)(torch.randn(2, 3, 4), (torch.zeros(3, 4),) * 2), r"must be \(2, 4\)"),
        (lambda: RNN(4, bidirectional=True)(torch.randn(2, 3, 4), (torch.zeros(2, 2),) * 2), "both directions"),
        (lambda: RNN(4)(torch.randn(2, 3, 4), lengths=torch.tensor([0, 3])), r"from 1 to 3, got \[0, 3\]"),
        (lambda: RNN(4)(torch.randn(2, 3, 4), lengths=torch.tensor([2, 4])), "from 1 to 3"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
