import pytest
import torch
from torch import nn

from seefar.evals.resolution import output_sizes
from seefar.papers._card import Scale

SMOKE = Scale("smoke", (0, 1))


class Sum(nn.Module):
    """Each token gets the sum of all, or their mean."""

    causal, bounded = False, True

    def __init__(self, mean):
        super().__init__()
        self.mean = mean
        self.net = nn.Linear(6, 6, bias=False)

    def forward(self, x, state=None):
        every = x.mean(1, keepdim=True) if self.mean else x.sum(1, keepdim=True)
        return self.net(every).expand_as(x), None


def test_a_sum_over_tokens_grows_with_them_and_a_mean_does_not():
    arms = {"sum": lambda side: Sum(mean=False), "mean": lambda side: Sum(mean=True)}
    sizes = output_sizes(arms, (8, 16, 32), SMOKE, dim=6)
    assert sizes["sum"][32].mean / sizes["sum"][8].mean == pytest.approx(16, rel=0.1)
    assert sizes["mean"][32].mean / sizes["mean"][8].mean == pytest.approx(1, rel=0.1)
    assert sizes["sum"][8].mean == pytest.approx(64 * sizes["mean"][8].mean, rel=1e-4), "the same weights"
    one, other = sizes["mean"][8].values
    assert one != other


def test_what_is_not_finite_is_told():
    class Broken(Sum):
        def forward(self, x, state=None):
            return x / 0, None

    with pytest.raises(FloatingPointError):
        output_sizes({"broken": lambda side: Broken(mean=True)}, (8,), SMOKE, dim=6)


def test_tokens_are_pixels_with_their_places():
    seen = []

    class Records(Sum):
        def forward(self, x, state=None):
            seen.append(x)
            return x, None

    output_sizes({"a": lambda side: Records(mean=True)}, (8, 16), Scale("smoke", (3,)), dim=6, pictures=2)
    assert [x.shape for x in seen] == [(2, 64, 6), (2, 256, 6)]
    corners = [x[:, [0, -1]] for x in seen]
    torch.testing.assert_close(corners[0], corners[1], rtol=1e-4, atol=1e-4, msg="corners are background at any side")
