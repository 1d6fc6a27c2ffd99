import pytest
import torch
from torch import nn

from seefar.mixers import TokenMatrix


def test_is_a_linear_layer_over_tokens_with_its_gradients():
    mixer, known = TokenMatrix(5).double(), nn.Linear(5, 5).double()
    torch.nn.init.normal_(mixer.bias)
    known.load_state_dict({"weight": mixer.weight.detach(), "bias": mixer.bias.detach()[:, 0]})
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    y, state = mixer(x)
    want = known(x.mT).mT
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
    assert state is None
    probe = torch.randn_like(y)
    (y * probe).sum().backward()
    (want * probe).sum().backward()
    torch.testing.assert_close(mixer.weight.grad, known.weight.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixer.bias.grad[:, 0], known.bias.grad, rtol=1e-12, atol=1e-12)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="at least one token, got length=0"):
        TokenMatrix(0)
    with pytest.raises(ValueError, match="made for 4 tokens, got 5; pad or cut them"):
        TokenMatrix(4)(torch.randn(1, 5, 2))
    with pytest.raises(ValueError, match="no state to go on from"):
        TokenMatrix(4)(torch.randn(1, 4, 2), ())
