import pytest
import torch

from seefar.synthetic.delay import delayed_noise


@pytest.mark.parametrize("length", [100, 101])
def test_the_target_is_the_signal_as_it_was(length):
    u, y = delayed_noise(3, length, 30, band=0.1, seed=0)
    assert u.shape == y.shape == (3, length, 1)
    assert torch.equal(y[:, 30:], u[:, :-30]) and (y[:, :30] == 0).all()
    assert torch.equal(*delayed_noise(3, length, 0, band=0.1, seed=0))


def test_signals_keep_to_their_band_and_have_one_size():
    u, _ = delayed_noise(50, 1000, 1, band=0.05, seed=1)
    power = torch.fft.rfft(u[..., 0].double()).abs().square().mean(0)
    assert power[51:].sum() < 1e-9 * power.sum() and power[0] < 1e-9 * power.sum()
    assert (power[1:51] / power[1:51].mean()).sub(1).abs().max() < 0.7  # white within the band
    torch.testing.assert_close(u.square().mean(1), torch.ones(50, 1))


def test_a_seed_decides_everything():
    first, again, other = (delayed_noise(2, 64, 8, band=0.2, seed=seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "change, message", [({"lag": 64}, r"\[0, length\), got 64"), ({"band": 0.6}, "got 0.6"), ({"band": 0.001}, "0.001")]
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        delayed_noise(**({"count": 1, "length": 64, "lag": 8, "band": 0.1, "seed": 0} | change))
