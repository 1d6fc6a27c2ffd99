"""The Gaussian readout reads the map where it says it does, and learns where that is."""

import pytest
import torch
import torch.nn.functional as F

from seefar.brain import GaussianReadout


def scene(units=7, dim=5):
    torch.manual_seed(0)
    readout = GaussianReadout(dim, torch.rand(units, 2) * 600).double()
    torch.nn.init.normal_(readout.weight)
    torch.nn.init.normal_(readout.bias)
    return readout, torch.randn(3, dim, 6, 9, dtype=torch.float64)


def by_hand(features, at):
    """Bilinear mixing of the four nearest features, one cell at a time; nothing beyond the border."""
    B, D, h, w = features.shape
    out = features.new_zeros(B, at.shape[1], D)
    for b in range(B):
        for n, (x, y) in enumerate(at[b].tolist()):
            column, row = (x + 1) / 2 * (w - 1), (y + 1) / 2 * (h - 1)
            for i in range(h):
                for j in range(w):
                    out[b, n] += max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * features[b, :, i, j]
    return out


@pytest.mark.parametrize("shift", [None, torch.tensor([[0.1, -0.3], [0.0, 0.0], [1.5, 0.2]], dtype=torch.float64)])
def test_at_rest_it_is_a_bilinear_reading_at_the_centres(shift):
    readout, features = scene()
    at = readout.centres.expand(3, -1, -1) + (0 if shift is None else shift[:, None])
    wanted = (by_hand(features, at) * readout.weight).sum(-1) + readout.bias
    torch.testing.assert_close(readout.eval()(features, shift), wanted, rtol=1e-12, atol=1e-12)


def test_it_is_the_sampled_grid_of_the_published_code():
    readout, features = scene()
    mu = readout.centres.view(1, 7, 1, 2)
    read = F.grid_sample(features, mu.expand(3, -1, -1, -1), align_corners=True).squeeze(-1)
    wanted = (read * readout.weight.T[None]).sum(1) + readout.bias
    torch.testing.assert_close(readout.eval()(features), wanted, rtol=1e-12, atol=1e-12)


def test_it_wanders_about_its_centre_in_training_alone():
    readout, features = scene()
    quiet = readout.eval()(features)
    assert torch.equal(readout(features), quiet)
    ramp = torch.linspace(-1, 1, 9).expand(1, 5, 6, 9).double() / 5
    with torch.no_grad():
        readout.weight.fill_(1), readout.bias.zero_(), readout.sigma.copy_(torch.diag(torch.tensor([0.05, 0.3])))
    rows = readout.train()(ramp.expand(4000, -1, -1, -1))  # each reads its own x
    torch.testing.assert_close(rows.mean(0), readout.centres[:, 0], rtol=0, atol=4e-3)
    torch.testing.assert_close(rows.std(0), torch.full((7,), 0.05).double(), rtol=0.05, atol=0)


def test_gradients_reach_the_centres_through_the_place_in_the_cortex():
    readout, features = scene()
    readout(features).square().sum().backward()
    for name, parameter in readout.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert readout.xy.abs().max() == 1


def test_wrong_input_is_refused():
    readout, features = scene()
    with pytest.raises(ValueError, match=r"features must be \(B, 5, h, w\), got \(3, 4, 6, 9\)"):
        readout(features[:, :4])
    with pytest.raises(ValueError, match="a place for each cell"):
        GaussianReadout(5, torch.rand(7))
    with pytest.raises(ValueError, match="all cells have one place"):
        GaussianReadout(5, torch.ones(7, 2))
    with pytest.raises(ValueError, match="sigma must be positive"):
        GaussianReadout(5, torch.rand(7, 2), sigma=0)
