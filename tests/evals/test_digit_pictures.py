"""Oracle: scikit-learn's own pictures, rolled by NumPy."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from seefar.evals.digit_pictures import _read, digit_batch, digit_test, digits_by_pixel
from seefar.mixers import MLP
from seefar.papers._card import Scale

DATA = load_digits()
MOVES = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]


def moves_of(picture, whole):
    """By which steps this is the whole picture moved."""
    return [by for by in MOVES if np.array_equal(np.roll(whole, by, (0, 1)), (picture + 1) * 8)]


def test_held_out_digits_are_every_fifth_each_moved_by_at_most_two_pixels_as_on_a_ring():
    pictures, labels = digit_test(0)
    assert labels.tolist() == DATA.target[::5].tolist() and pictures.shape == (360, 1, 8, 8)
    found = [moves_of(picture[0].numpy(), whole) for picture, whole in zip(pictures, DATA.images[::5], strict=True)]
    assert all(found)
    counts = np.unique([MOVES.index(by[0]) for by in found], return_counts=True)[1]
    assert len(counts) == 25 and counts.max() < 35, "all moves come up alike"
    assert not torch.equal(digit_test(1)[0], pictures) and torch.equal(digit_test(0)[0], pictures)


def test_a_batch_depends_on_seed_and_step_alone_and_holds_none_of_the_held_out():
    pictures, labels = digit_batch(1, 2, batch=12)
    assert torch.equal(digit_batch(1, 2, batch=12)[0], pictures) and labels.shape == (12,)
    assert not torch.equal(digit_batch(1, 3, batch=12)[0], pictures)
    assert not torch.equal(digit_batch(2, 2, batch=12)[0], pictures)
    train = np.delete(DATA.images, np.s_[::5], 0), np.delete(DATA.target, np.s_[::5])
    rolled = np.stack([np.roll(train[0], by, (1, 2)) for by in MOVES])
    for picture, label in zip(pictures[:, 0].numpy(), labels, strict=True):
        same = (rolled == (picture + 1) * 8).all((2, 3)).any(0)
        assert (train[1][same] == int(label)).any()


def test_one_pixel_at_a_time_tells_little_of_a_digit_that_moves():
    sums = []
    for step in range(40):
        pictures, labels = digit_batch(0, step, batch=100)
        sums.append(
            torch.stack([pictures[labels == label].sum((0, 1)) / (labels == label).sum() for label in range(10)])
        )
    means = torch.stack(sums).mean(0).flatten(1)
    pictures, labels = digit_test(0)
    named = torch.cdist(pictures.flatten(1), means).argmin(-1) == labels
    assert named.float().mean() < 0.4, "nearest mean picture; of digits that stay it names 9 of 10"


def test_every_arm_reads_the_same_digits_through_the_same_reader_and_only_its_column_differs():
    class Records(MLP):
        seen = []

        def forward(self, x, state=None):
            self.seen.append(x.detach().clone())
            return super().forward(x, state)

    arms = {"one": lambda: Records(8), "other": lambda: Records(8)}
    curves = digits_by_pixel(arms, Scale("smoke", (0,)), dim=8, steps=2, batch=4)
    assert set(curves) == set(arms) and 0 <= curves["one"]["accuracy"].mean <= 1
    one, other = Records.seen[:3], Records.seen[3:]
    assert one[0].shape == (4, 64, 8) and one[2].shape == (360, 64, 8)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_places_begin_the_more_alike_the_nearer_they_are():
    places = _read(lambda: MLP(32), 32, 0).place.table.detach().unflatten(0, (8, 8))
    for line in (places[2], places[:, 5]):
        apart = (line - line[0]).norm(dim=-1)
        assert (apart[1:4].diff() > 0).all() and apart[1] < 0.7 * apart[3:].min()
    assert torch.cdist(*[places.flatten(0, 1)[None]] * 2)[0].fill_diagonal_(9).min() > 0.5


def test_what_sees_the_whole_picture_can_learn_it_and_an_arm_that_is_not_trained_cannot():
    class Whole(nn.Module):
        """Every token gets a map of the whole picture, read off what differs from picture to picture."""

        causal, bounded = False, True

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(512, 128), nn.GELU(), nn.Linear(128, 8))

        def forward(self, x, state=None):
            return self.net(x.flatten(1))[:, None].expand_as(x), None

    arms = {"whole": Whole}
    share = [
        digits_by_pixel(arms, Scale("smoke", (0,)), dim=8, steps=steps, lr=lr)["whole"]["accuracy"].mean
        for steps, lr in ((150, 1e-2), (1, 1e-9))
    ]
    assert share[0] > 0.3 > share[1]


def test_a_width_that_places_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        digits_by_pixel({"a": lambda: MLP(6)}, Scale("smoke", (0,)), dim=6, steps=1)
