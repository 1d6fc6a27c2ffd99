import pytest
import torch

from seefar.mixers import GatedRecurrence, GatedRecurrenceState
from seefar.testing import check_streaming


def test_streams():
    check_streaming(GatedRecurrence(6, floor=0.3), torch.randn(2, 33, 6))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(GatedRecurrence(6)), torch.randn(2, 33, 6))


def test_follows_its_equation_token_by_token():
    mixer = GatedRecurrence(5, floor=0.2).double()
    x, h = torch.randn(2, 9, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    got, end = mixer(x, GatedRecurrenceState(h))
    value, keep, out = (x @ mixer.proj_in.weight.T + mixer.proj_in.bias).split(5, -1)
    for t in range(9):
        f = 0.2 + 0.8 / (1 + (-keep[:, t]).exp())
        h = f * h + (1 - f) * value[:, t]
        want = (h / (1 + (-out[:, t]).exp())) @ mixer.proj_out.weight.T + mixer.proj_out.bias
        torch.testing.assert_close(got[:, t], want)
    torch.testing.assert_close(end.h_BD, h)


def test_floor_bounds_forgetting():
    h0 = torch.ones(1, 4, requires_grad=True)
    _, end = GatedRecurrence(4, floor=0.5)(torch.randn(1, 10, 4), GatedRecurrenceState(h0))
    (kept,) = torch.autograd.grad(end.h_BD.sum(), h0)
    assert (kept >= 0.5**10).all()


def test_half_precision_keeps_a_float32_state():
    mixer = GatedRecurrence(8, floor=0.999).bfloat16()
    y, state = mixer(torch.randn(1, 500, 8, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and state.h_BD.dtype == torch.float32
    y, state = mixer(torch.randn(1, 3, 8, dtype=torch.bfloat16), state)
    # a keep of 0.999 is 1 in bfloat16: nothing would ever be written
    assert (state.h_BD != 0).all()


def test_the_state_holds_one_token_in_memory():
    _, state = GatedRecurrence(8)(torch.randn(2, 500, 8))
    assert state.h_BD.untyped_storage().nbytes() == 2 * 8 * 4


@pytest.mark.parametrize("floor", [1.0, -0.1])
def test_floor_outside_its_range_is_refused(floor):
    with pytest.raises(ValueError, match=rf"\[0, 1\), got {floor}"):
        GatedRecurrence(4, floor=floor)
