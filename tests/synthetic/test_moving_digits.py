"""Oracle: the published rules, written out for one digit."""

import numpy as np
import pytest
import torch

from seefar.synthetic.moving_digits import moving_digits
from seefar.synthetic.shapes import digit as handwritten


def corners(clip):
    """(frames, 2) upper left corner of what shows."""
    lit = clip[:, 0] > 0
    return np.stack([lit.any(2).int().argmax(1), lit.any(1).int().argmax(1)], 1)


def test_a_digit_follows_the_published_rules():
    clip = moving_digits(1, 60, seed=3, size=24, digits=1, digit=8)[0]
    rng = np.random.default_rng([3, 0])
    (y, x), way = rng.random(2), 2 * np.pi * rng.random()
    value, which = int(rng.integers(10)), int(rng.integers(10_000))
    dy, dx, picture = np.sin(way), np.cos(way), torch.from_numpy(handwritten(value, which, 8, "train"))
    bounces = 0
    for frame in clip:
        y, x = y + 0.15 * dy, x + 0.15 * dx
        bounces += (not 0 < x < 1) + (not 0 < y < 1)
        x, dx = (0, -dx) if x <= 0 else (1, -dx) if x >= 1 else (x, dx)
        y, dy = (0, -dy) if y <= 0 else (1, -dy) if y >= 1 else (y, dy)
        want = torch.zeros(24, 24)
        want[int(16 * y) : int(16 * y) + 8, int(16 * x) : int(16 * x) + 8] = picture
        assert torch.equal(frame[0], want)
    assert bounces >= 10


def test_digits_move_by_themselves_and_the_brighter_one_shows():
    both = moving_digits(4, 30, seed=1, size=20, digits=2, digit=12)
    assert both.shape == (4, 30, 1, 20, 20) and both.dtype == torch.float32
    assert both.min() >= 0 and 0.9 < both.max() <= 1
    light = both.sum((2, 3, 4))
    assert (light.max(1).values > light.min(1).values).all(), "they never met, or were added"


def test_a_longer_clip_begins_as_the_shorter_one_and_a_seed_decides_everything():
    first, longer, other = (
        moving_digits(2, n, seed=seed, size=16, digit=8) for n, seed in ((5, (4, 9)), (12, (4, 9)), (5, (4, 10)))
    )
    assert torch.equal(longer[:, :5], first) and not torch.equal(first, other)


def test_the_handwriting_of_the_splits_differs():
    def drawn(split):
        clips = moving_digits(200, 1, seed=0, size=9, digits=1, digit=8, split=split)
        return {clip.numpy().tobytes() for clip in clips}

    assert len(drawn("train")) > 100 and not drawn("train") & drawn("held-out")


def test_every_way_is_taken_and_nothing_stands_out():
    clips = moving_digits(300, 2, seed=2, size=100, digits=1, digit=10)
    way = np.array([np.subtract(*corners(clip)[::-1]) for clip in clips])
    assert (np.abs(way.mean(0)) < 1.5).all() and (way.std(0) > 7).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"digit": 16}, "no room to move in 16"),
        ({"frames": 0}, "frames=0"),
        ({"digits": 0}, "digits=0"),
        ({"step": -0.1}, "step=-0.1"),
        ({"split": "test"}, "got 'test'"),
    ],
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        moving_digits(**({"count": 1, "frames": 2, "seed": 0, "size": 16, "digit": 8} | change))
