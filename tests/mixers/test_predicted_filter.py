"""Oracle: torch's grouped convolution with one group for each picture and channel, as the authors' code calls it."""

import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import PredictedFilter


@pytest.mark.parametrize("front", [0, 1])
def test_it_is_a_convolution_with_a_filter_of_its_own_for_each_picture_and_channel(front):
    torch.manual_seed(0)
    B, D, H, W = 3, 6, 4, 5
    local = PredictedFilter(D, 2, (H, W), front=front).double()
    x, v = torch.randn(2, B, front + H * W, D, dtype=torch.float64).unbind()
    filters = local.predict(x.mean(1)[..., None]).reshape(B * D, 1, 3, 3)
    picture = v[:, front:].mT.reshape(1, B * D, H, W)
    want = F.conv2d(picture, filters, padding=1, groups=B * D).reshape(B, D, H * W).mT
    got = local(x, v)
    torch.testing.assert_close(got[:, front:], want)
    assert (got[:, :front] == 0).all(), "a class token has no neighbours"


def test_filters_change_with_the_picture_and_stay_within_a_head():
    torch.manual_seed(0)
    local = PredictedFilter(4, 2, (3, 3)).double()
    x, v = torch.randn(2, 1, 9, 4, dtype=torch.float64).unbind()
    assert not torch.allclose(local(x, v), local(-x, v))
    other = x.clone()
    other[..., 2:] += 1
    torch.testing.assert_close(local(other, v)[..., :2], local(x, v)[..., :2])
    assert not torch.allclose(local(other, v)[..., 2:], local(x, v)[..., 2:])


def test_gradients_reach_pictures_and_filters():
    local = PredictedFilter(2, 1, (2, 3)).double()
    x, v = (part.requires_grad_() for part in torch.randn(2, 1, 6, 2, dtype=torch.float64).unbind())
    assert torch.autograd.gradcheck(local, (x, v))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="a grid of 3 x 3 make 10, got 9"):
        PredictedFilter(4, 2, (3, 3), front=1)(torch.randn(1, 9, 4), torch.randn(1, 9, 4))
    with pytest.raises(ValueError, match="heads must divide dim=4, got 3"):
        PredictedFilter(4, 3, (3, 3))
    with pytest.raises(ValueError, match="needs a grid"):
        PredictedFilter(4, 2, (0, 3))
