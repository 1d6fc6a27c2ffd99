"""Oracle: the weights written out with NumPy's own cosine."""

import numpy as np
import pytest
import torch

from seefar.mixers import Taylor
from seefar.ops.taylor_attention import Parabola


@pytest.mark.parametrize("keep_size", [True, False])
def test_weights_are_a_parabola_of_cosine_times_temperature(keep_size):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 9, 4, dtype=torch.float64).unbind()
    score = Taylor(2, keep_size=keep_size).double()
    with torch.no_grad():
        score.tau.copy_(torch.tensor([0.5, 3.0])[:, None, None])
        got = [score.direct(q, k, v), score.linear(q, k, v)]
    for h, tau in enumerate((0.5, 3.0)):
        a, b = q[0, h].numpy(), k[0, h].numpy()
        s = tau * (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
        weights = 1 + s + s * s / 2
        want = weights / weights.sum(1)[:, None] @ v[0, h].numpy() * (1.5 if keep_size else 1)
        for one in got:
            np.testing.assert_allclose(one[0, h].numpy(), want, rtol=1e-12)


@pytest.mark.parametrize("form", ["direct", "linear"])
def test_size_is_that_of_a_token_whatever_the_length_in_both_forms(form):
    torch.manual_seed(0)
    sizes = []
    for N in (64, 512):
        q, k, v = torch.randn(3, 1, 64, N, 8).unbind()
        with torch.no_grad():
            sizes.append(float(getattr(Taylor(64), form)(q, k, v).square().mean().sqrt()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)
    assert 1 / 8**0.5 < sizes[0] < 1


def test_wide_heads_warn_and_negative_weights_are_refused():
    q = torch.randn(1, 1, 4, 65)
    with pytest.warns(UserWarning, match="width 65"):
        Taylor(1).linear(q, q, q)
    with pytest.raises(ValueError, match=r"c >= b\^2 / 4a"):
        Taylor(1, parabola=Parabola(0.25, 1.0, 0.9))
