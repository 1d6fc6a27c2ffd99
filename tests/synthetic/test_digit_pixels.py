import pytest
import torch
from sklearn.datasets import load_digits

from seefar.synthetic.digit_pixels import digit_pixels


def test_they_are_the_digits_of_scikit_learn_row_by_row():
    x, label = digit_pixels("held-out")
    assert x.shape == (360, 64, 1)
    torch.testing.assert_close((x[1].reshape(8, 8) + 1) * 8, torch.from_numpy(load_digits().images[5]).float())
    assert label.tolist() == load_digits().target[::5].tolist()


def test_splits_share_no_digit_and_are_all_of_them():
    train, held = (digit_pixels(split)[0].flatten(1) for split in ("train", "held-out"))
    assert len(train) + len(held) == 1797
    assert torch.cdist(held, train).min() > 0


def test_a_larger_side_shows_the_same_digit():
    x, large = digit_pixels()[0], digit_pixels(side=32)[0]
    assert large.shape == (1437, 1024, 1)
    small = torch.nn.functional.avg_pool2d(large.reshape(-1, 1, 32, 32), 4).flatten(1)
    assert torch.corrcoef(torch.stack([small.flatten(), x.flatten()]))[0, 1] > 0.95


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="'train' or 'held-out', got 'test'"):
        digit_pixels("test")
    with pytest.raises(ValueError, match="at least 8, got 7"):
        digit_pixels(side=7)
