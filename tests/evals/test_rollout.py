import pytest
import torch

from seefar.evals.recall import cost_after
from seefar.evals.rollout import frame_after, rollouts, update
from seefar.mixers import Attention, ConvSSM
from seefar.papers._card import Scale
from seefar.papers.convssm import build

SMOKE = Scale("smoke", (0, 1))


def ramp(count, frames, *, seed, split):
    """Clips whose frame n is n / 10 everywhere; in the test a tenth brighter."""
    light = (torch.arange(frames) + (split == "held-out")) / 10
    return light[:, None, None, None].expand(count, frames, 1, 4, 4).clone()


def few(**options):
    fixed = {"train": 3, "context": 2, "steps": 1, "batch": 2, "tests": 3}
    arms = {"a": lambda: build((2, 4), 1, groups=1)}
    return rollouts(arms, ramp, options.pop("windows", [(1, 1), (2, 4)]), SMOKE, **(fixed | options))


def test_what_stands_still_has_the_error_that_it_must():
    error = few()
    assert list(error) == ["a", "last frame", "mean frame"]
    # the context ends at 0.2, then come 0.3 0.4 0.5 0.6; the mean of training clips is 0.1
    assert error["last frame"][1, 1].mean == pytest.approx(0.01)
    assert error["last frame"][2, 4].mean == pytest.approx((0.04 + 0.09 + 0.16) / 3)
    assert error["mean frame"][2, 4].mean == pytest.approx((0.09 + 0.16 + 0.25) / 3)
    assert 0 < error["a"][1, 1].mean < 1


def test_training_sees_the_train_split_alone_and_no_clip_twice():
    asked = []

    def noted(count, frames, *, seed, split):
        asked.append((count, frames, seed, split))
        return ramp(count, frames, seed=seed, split=split)

    rollouts({"a": lambda: build((2, 4), 1, groups=1)}, noted, [(1, 2)], SMOKE, train=3, context=2, steps=2, batch=2)
    lessons = [seed for count, _, seed, split in asked if split == "train" and count == 2]
    assert len(lessons) == len(set(lessons)) == 4
    assert {frames for _, frames, _, split in asked if split == "held-out"} == {4}


def test_attention_remembers_more_with_every_frame_and_a_state_space_does_not():
    arms = {"convolution": frame_after(ConvSSM(4), (2, 3, 4)), "attention": frame_after(Attention(4, 2), (6, 4))}
    seconds, size = cost_after(arms, (1, 5), SMOKE, repeats=1)
    assert size["convolution"] == {1: 96, 5: 96} and size["attention"] == {1: 192, 5: 960}
    assert all(figure.mean > 0 for row in seconds.values() for figure in row.values())


def test_an_update_frame_by_frame_has_the_gradients_of_a_whole_one():
    torch.manual_seed(0)
    mixer, found = ConvSSM(4).double(), []
    for whole in (True, False):
        torch.set_default_dtype(torch.float64)
        update(mixer, (2, 3, 4), batch=2, whole=whole)(5)()
        torch.set_default_dtype(torch.float32)
        found.append(torch.cat([p.grad.flatten() for p in mixer.parameters()]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "change, message", [({"context": 0}, "got a context of 0"), ({"windows": [(0, 3)]}, r"got \[\(0, 3\)\]")]
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        few(**change)
