"""Oracle: scikit-learn's own pictures."""

import torch
from sklearn.datasets import load_digits

from seefar.evals.digit_pictures import digit_batch, digit_test


def test_held_out_digits_are_every_fifth_upright_and_in_range():
    pictures, labels = digit_test(0)
    data = load_digits()
    torch.testing.assert_close(pictures[:, 0], torch.from_numpy(data.images[::5]).float() / 8 - 1)
    assert labels.tolist() == data.target[::5].tolist()
    assert digit_test(3, side=16, tests=7)[0].shape == (7, 1, 16, 16)


def test_a_batch_depends_on_seed_and_step_alone_and_holds_none_of_the_held_out():
    pictures, labels = digit_batch(1, 2, batch=40)
    assert torch.equal(digit_batch(1, 2, batch=40)[0], pictures) and labels.shape == (40,)
    assert not torch.equal(digit_batch(1, 3, batch=40)[0], pictures)
    assert not torch.equal(digit_batch(2, 2, batch=40)[0], pictures)
    data = load_digits()
    train = torch.from_numpy(data.images).float() / 8 - 1
    train = train[torch.arange(len(train)) % 5 != 0]
    assert all((train == picture).all((1, 2)).any() for picture in pictures[:, 0])
