"""Every score of the mixer obeys the same laws, in both of its forms."""

import pytest
import torch
from torch import nn

from seefar.mixers import Holographic, Inline, NormalizedLinear, PredictedFilter, Taylor, TwoFormAttention
from seefar.mixers.holographic import exact

SCORES = {
    "taylor": lambda: Taylor(2),
    "holographic": Holographic,
    "exact": lambda: Holographic(exact),
    "inline": Inline,
    "fixed": lambda: Inline(tokens=7),
    "linear": NormalizedLinear,
}
torch.manual_seed(0)
X = torch.randn(2, 20, 12, dtype=torch.float64)


def mixer(name, **given):
    torch.manual_seed(1)
    return TwoFormAttention(12, 2, SCORES[name](), **given).double()


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("masked", [False, True])
def test_both_forms_agree_with_all_gradients(name, masked):
    mask = torch.arange(20) < torch.tensor([[20], [11]]) if masked else None
    outcomes = []
    for form in ("direct", "linear"):
        one, x = mixer(name, form=form), X.clone().requires_grad_()
        y, state = one(x, mask=mask)
        assert state is None
        outcomes.append([y, *torch.autograd.grad((y * X.flip(1)).sum(), [x, *one.parameters()])])
    for got, want in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_padding_is_as_good_as_absent(name):
    mask = torch.arange(20).expand(2, 20) < 11
    one = mixer(name)
    torch.testing.assert_close(one(X, mask=mask)[0][:, :11], one(X[:, :11])[0])


@pytest.mark.parametrize("name", SCORES)
def test_tokens_have_no_order(name):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    one = mixer(name)
    torch.testing.assert_close(one(X[:, order])[0], one(X)[0][:, order])


def test_the_form_that_takes_less_work_is_taken():
    class Told(nn.Module):
        def direct(self, q, k, v, mask=None):
            return v

        def linear(self, q, k, v, mask=None):
            return -v

        def pays(self, N, d):
            return d <= N

    one = TwoFormAttention(12, 2, Told()).double()
    values = one.o_proj(one.v_proj(X))
    torch.testing.assert_close(one(X)[0], -values)
    torch.testing.assert_close(one(X[:, :5])[0], values[:, :5])
    one.form = "direct"
    torch.testing.assert_close(one(X)[0], values)


def test_what_is_local_is_added_before_the_way_out():
    local = PredictedFilter(12, 2, (4, 5))
    one, bare = mixer("inline", local=local.double()), mixer("inline")
    torch.testing.assert_close(one(X)[0], bare(X)[0] + one.o_proj(local(X, one.v_proj(X))))


def test_wrong_input_is_refused():
    one = mixer("taylor")
    with pytest.raises(ValueError, match="no state to go on from"):
        one(X, ())
    with pytest.raises(ValueError, match="heads must divide dim=12, got 5"):
        TwoFormAttention(12, 5, Inline())
    with pytest.raises(ValueError, match="form must be"):
        TwoFormAttention(12, 2, Inline(), form="quadratic")
    with pytest.raises(ValueError, match="mask must be"):
        one(X, mask=torch.ones(2, 19, dtype=torch.bool))
