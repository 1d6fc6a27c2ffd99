"""Oracle: the weights of the equation in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import NormalizedLinear


@pytest.mark.parametrize("form", ["linear", "direct"])
@pytest.mark.parametrize(("feature", "numbers"), [(F.relu, lambda x: np.maximum(x, 0)), (torch.exp, np.exp)])
def test_weights_are_products_of_features_over_their_sum(form, feature, numbers):
    q, k, v = torch.randn(3, 1, 1, 9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    got = getattr(NormalizedLinear(feature), form)(q, k, v)[0, 0].numpy()
    weights = numbers(q[0, 0].numpy()) @ numbers(k[0, 0].numpy()).T
    alive = weights.sum(1) > 0
    want = weights[alive] / weights[alive].sum(1)[:, None] @ v[0, 0].numpy()
    np.testing.assert_allclose(got[alive], want, rtol=1e-10)
    assert (got[~alive] == 0).all()


def test_a_query_without_features_gets_zeros_and_no_gradient():
    k, v = torch.randn(2, 1, 1, 9, 4).abs().unbind()
    q = torch.full((1, 1, 9, 4), -1.0, requires_grad=True)
    got = NormalizedLinear().linear(q, k, v)
    assert (got == 0).all()
    assert (torch.autograd.grad(got.sum(), q)[0] == 0).all()
