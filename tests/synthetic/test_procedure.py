"""Procedures: the same steps in every class, in another order, whatever the length of the video."""

import pytest
import torch

from seefar.synthetic.procedure import ORDERS, SHORTEST, procedures


@pytest.mark.parametrize("frames", [SHORTEST, 16, 64])
def test_a_class_is_the_order_of_its_steps(frames):
    film, labels = procedures(40, frames, noise=0.0, seed=1)
    assert film.grid == (frames, 1, 2)
    x = film.tokens.unflatten(1, (frames, 2))
    change = x - x[:, :1]  # the first frame is waiting
    steps = 4 * torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(5903))
    for video, label in zip(change, labels, strict=True):
        near = [torch.isclose(video, step, atol=1e-5).flatten(1).all(1) for step in steps]
        assert torch.equal(torch.stack(near).any(0), video.abs().flatten(1).amax(1) > 1e-5)
        assert all(2 <= int(done.sum()) <= 3 for done in near)
        assert all(done.diff().count_nonzero() == 2 for done in near), "a step is done once, and frames wait around it"
        begins = [int(done.float().argmax()) for done in near]
        times = sorted(begins)
        assert min(times[0], times[1] - times[0] - 2) >= max(1, frames // 10), "waits are a tenth of the video each"
        assert tuple(sorted(range(3), key=begins.__getitem__)) == ORDERS[label]


def test_classes_are_as_frequent_and_videos_differ_by_seed_alone():
    (x, labels), (again, _), (other, _) = (procedures(400, 16, seed=seed) for seed in (1, 1, 2))
    assert labels.bincount().min() > 70
    assert torch.equal(x.tokens, again.tokens) and not torch.equal(x.tokens, other.tokens)


def test_a_video_too_short_for_its_steps_is_refused():
    with pytest.raises(ValueError, match=f"need {SHORTEST} frames, got 9"):
        procedures(1, 9, seed=0)
