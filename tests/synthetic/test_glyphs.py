"""Glyphs are where and what their labels say, in frames of every aspect, and squashing hides their stretch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seefar.synthetic.glyphs import STRETCHES, Glyphs

QUIET = Glyphs(noise=0.0)


def _extent(picture: torch.Tensor) -> tuple[int, int]:
    """Height and width of what is not ground."""
    seen = picture[0] > -0.3 + 1e-3
    return int(seen.any(1).sum()), int(seen.any(0).sum())


def test_a_shape_has_the_stretch_of_its_name_in_its_frame():
    pictures, labels = QUIET.draw(300, 0)
    for picture, label in zip(pictures, labels, strict=True):
        h, w = _extent(picture)
        wanted = STRETCHES[QUIET.names[label].split()[0]]
        assert abs(w - h * wanted) <= 3 + 0.05 * w, QUIET.names[label]


def test_frames_have_one_area_and_every_aspect_whatever_they_show():
    pictures, labels = Glyphs().draw(3000, 0)
    sizes = np.array([picture.shape[1:] for picture in pictures])
    assert abs(sizes.prod(1) / 4096 - 1).max() < 0.03
    aspects = np.log2(sizes[:, 1] / sizes[:, 0])
    assert aspects.min() < -1.95 and aspects.max() > 1.95 and abs(aspects.mean()) < 0.1
    for stretch in range(3):
        assert abs(aspects[labels.numpy() % 3 == stretch].mean()) < 0.15
    assert torch.bincount(labels, minlength=12).min() > 180


def test_squashed_to_a_square_the_stretch_is_lost():
    pictures, labels = QUIET.draw(3000, 1)
    seen = np.array([[h / p.shape[1], w / p.shape[2]] for p in pictures for h, w in [_extent(p)]])
    apparent, stretch = np.log2(seen[:, 1] / seen[:, 0]), labels.numpy() % 3
    bins = np.digitize(apparent, np.linspace(-3, 3, 13))
    best = sum(np.bincount(stretch[bins == b], minlength=3).max() for b in np.unique(bins)) / len(stretch)
    assert best < 0.58  # one half, and what cutting to bins finds in 3000 by chance
    native = np.log2([w / h for h, w in map(_extent, pictures)]).round()
    assert (native == stretch - 1).mean() > 0.99


def test_a_seed_gives_the_same_pictures_and_another_seed_others():
    first, again, other = (Glyphs().draw(3, seed) for seed in (5, 5, (5, 1)))
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_the_noise_is_as_strong_as_told():
    noisy, still = (replace(QUIET, noise=noise).draw(20, 0)[0] for noise in (0.2, 0.0))
    grain = torch.cat([(a - b).flatten() for a, b in zip(noisy, still, strict=True)])
    assert grain.std().item() == pytest.approx(0.2, rel=0.02) and abs(grain.mean()) < 0.002


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Glyphs(shapes=("blob",)), "no blob; shapes are circle"),
        (lambda: Glyphs(shapes=()), "got 0 shapes"),
        (lambda: Glyphs(fill=(0.9, 0.5)), r"rising, got \(0.9, 0.5\)"),
        (lambda: Glyphs(area=256), "under 8 pixels long in frames of 256"),
        (lambda: Glyphs().draw(0, 0), "at least one picture"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
